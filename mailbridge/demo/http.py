"""A small HTTP server for stand-ins: one coroutine answers every request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mailbridge.web.server import WebService


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request, read whole."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


Answer = Callable[[Exchange], Awaitable[tuple[int, dict[str, str], bytes]]]


class HttpStandIn:
    """Serves `answer` on loopback."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def start(self, port: int = 0) -> int:
        """Listen; return the port. Raises OSError."""
        self._service = WebService("127.0.0.1", port, self._app)
        return (await self._service.start())[1]

    async def stop(self) -> None:
        """Close the listener and what is connected."""
        await self._service.stop()

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        exchange = Exchange(request.method, request.url.path, request.headers, await request.body())
        status, headers, body = await self._answer(exchange)
        await Response(body, status, headers)(scope, receive, send)
