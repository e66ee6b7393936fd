"""The HTTP service: a starlette app on uvicorn, started and stopped inside the daemon's loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Generator
from typing import Any

import uvicorn
from starlette.types import ASGIApp

# Seconds for what is under way when the service stops; then it is cut.
_LAST_WORDS = 2
# Seconds in which uvicorn makes its Date header anew.
_TICK = 1.0


class QuietServer(uvicorn.Server):
    """uvicorn without its signal handlers and its ten looks a second: the process's owner decides when it ends."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Stop serving, at once."""
        self.should_exit = True
        self._ending.set()

    async def main_loop(self) -> None:
        """Look after the Date header once a second, until the end."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), _TICK)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class WebService:
    """Serves one app on one address."""

    def __init__(self, host: str, port: int, app: ASGIApp) -> None:
        self._host, self._port = host, port
        quiet: dict[str, Any] = {"lifespan": "off", "log_config": None, "access_log": False, "server_header": False}
        config = uvicorn.Config(app, interface="asgi3", timeout_graceful_shutdown=_LAST_WORDS, **quiet)
        self._server = QuietServer(config)

    async def start(self) -> tuple[str, int]:
        """Listen; return the address. Raises OSError where it cannot be bound."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.create_server((self._host, self._port), family=family, backlog=512)
        # asyncio does it only for sockets that name TCP, which this does not; without it an answer's second write waits 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started and not self._task.done():
            await asyncio.sleep(0.001)
        host, port = listener.getsockname()[:2]
        return str(host), int(port)

    async def stop(self) -> None:
        """Close the listener and what is connected."""
        self._server.end()
        await self._task
