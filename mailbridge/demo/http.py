"""A small HTTP/1.1 server for stand-ins: starlette on uvicorn, started and stopped inside a running loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass

import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request, read whole."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


Answer = Callable[[Exchange], Awaitable[tuple[int, dict[str, str], bytes]]]


class QuietServer(uvicorn.Server):
    """uvicorn without its signal handlers: the process's owner decides what SIGTERM means."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class HttpStandIn:
    """Serves `answer` on loopback."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def start(self, port: int = 0) -> int:
        """Listen; return the port. Raises OSError."""
        self._server, self._task, bound = await serve(self._app, "127.0.0.1", port)
        return bound

    async def stop(self) -> None:
        """Close the listener and what is connected."""
        await stop(self._server, self._task)

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        exchange = Exchange(request.method, request.url.path, request.headers, await request.body())
        status, headers, body = await self._answer(exchange)
        await Response(body, status, headers)(scope, receive, send)


async def serve(app: ASGIApp, host: str, port: int) -> tuple[QuietServer, asyncio.Task[None], int]:
    """Start an ASGI app; return when it listens, with its port. Raises OSError where the address cannot be bound."""
    listener = socket.create_server((host, port), backlog=512)
    config = uvicorn.Config(app, interface="asgi3", lifespan="off", log_config=None, access_log=False)
    server = QuietServer(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not task.done():
        await asyncio.sleep(0.001)
    return server, task, listener.getsockname()[1]


async def stop(server: QuietServer, task: asyncio.Task[None]) -> None:
    """Stop what `serve` started."""
    server.should_exit = True
    await task
