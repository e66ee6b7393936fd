"""A small HTTP server in which one coroutine answers every request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mailbridge.web.server import WebService


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request with its whole body."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


Answer = Callable[[HttpRequest], Awaitable[tuple[int, dict[str, str], bytes]]]


class HttpServer:
    """Serves `answer` on loopback."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def start(self, port: int = 0) -> int:
        """Listen; return the port. Raises OSError."""
        self._service = WebService("127.0.0.1", port, self._app, most=None)
        return (await self._service.start())[1]

    async def stop(self) -> None:
        """Close the listener and all connections."""
        await self._service.stop()

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        received = HttpRequest(request.method, request.url.path, request.headers, await request.body())
        status, headers, body = await self._answer(received)
        await Response(body, status, headers)(scope, receive, send)
