"""The HTTP server: an ASGI app on uvicorn, started and stopped inside the daemon's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from mailbridge.accounting import charged, charging
from mailbridge.client_group import client_group
from mailbridge.web.connections import MAX_CONNECTIONS, REQUEST_TIMEOUT, HttpConnections, LimitedProtocol, TlsConnection

# Seconds that requests in flight get when the server stops; then their connections are closed.
_SHUTDOWN_TIMEOUT = 2
# Seconds between updates of the Date header.
_TICK = 1.0
_BACKLOG = 512
# Connections that are accepted in one turn of the event loop.
_ACCEPTED_AT_ONCE = 16
# Turns of the event loop from the acceptance of a connection until it has its protocol.
_TURNS_OF_AN_ACCEPT = 3
_UNREAD_TIMEOUT = 60_000  # milliseconds after which a client that does not read its answer is cut


class QuietServer(uvicorn.Server):
    """uvicorn without its signal handlers, and without waking up ten times a second: `end` stops it."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Stop serving now."""
        self.should_exit = True
        self._ending.set()

    async def main_loop(self) -> None:
        """Update the Date header once a second, until the end."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), _TICK)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def _protocol(connections: HttpConnections, tls: ssl.SSLContext | None) -> Callable[..., asyncio.Protocol]:
    """Return what makes the protocol of a new connection."""

    def over_tls(**arguments: Any) -> asyncio.Protocol:
        assert tls is not None
        return cast(asyncio.Protocol, TlsConnection(connections, LimitedProtocol(connections, **arguments), tls))

    return partial(LimitedProtocol, connections) if tls is None else over_tls


class WebService:
    """Serves one ASGI app on one address; `app` may be replaced while it does.

    `most` bounds the connections, each of which must make its requests in time; None sets no limits. With `tls`, which
    needs `most`, it serves HTTPS.
    """

    def __init__(
        self, host: str, port: int, app: ASGIApp, most: int | None = MAX_CONNECTIONS, tls: ssl.SSLContext | None = None
    ) -> None:
        self._host, self._port, self.app = host, port, app
        quiet: dict[str, Any] = {"lifespan": "off", "log_config": None, "access_log": False, "server_header": False}
        self.tls = tls
        self._connections = None if most is None else HttpConnections(most)
        quiet |= {"http": "h11" if self._connections is None else _protocol(self._connections, tls), "ws": "none"}
        quiet["backlog"] = _ACCEPTED_AT_ONCE
        # Longer than the five seconds after which an open page of the console asks again.
        quiet["timeout_keep_alive"] = int(REQUEST_TIMEOUT) - 1
        # uvicorn would take the client's address from what any program on this machine writes into X-Forwarded-For.
        quiet["proxy_headers"] = False
        config = uvicorn.Config(self._serve_app, interface="asgi3", timeout_graceful_shutdown=_SHUTDOWN_TIMEOUT, **quiet)
        self._server = QuietServer(config)

    async def _serve_app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._connections is None:
            await self.app(scope, receive, send)
            return
        host, _ = scope["client"] or ("", 0)
        with charging(partial(self._connections.turns.charge, client_group(host.removeprefix("::ffff:")))):
            await charged(self.app(scope, receive, send))

    async def start(self) -> tuple[str, int]:
        """Listen; return the address. Raises OSError if it cannot be bound."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.create_server((self._host, self._port), family=family)
        # asyncio sets this only on sockets created with IPPROTO_TCP, which this one is not. Without it, the second write of an
        # answer is delayed by 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_TIMEOUT)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started and not self._task.done():
            await asyncio.sleep(0.001)
        # asyncio has made the kernel's queue as short as the number that it accepts in one turn.
        if self._server.started:
            listener.listen(_BACKLOG)
        host, port = listener.getsockname()[:2]
        return str(host), int(port)

    async def stop(self) -> None:
        """Close the listener and all connections."""
        loop = asyncio.get_running_loop()
        for listener in [one for server in getattr(self._server, "servers", ()) for one in server.sockets]:
            loop.remove_reader(listener)
        # asyncio neither serves nor closes a connection that it has accepted in the turn in which its server closes.
        for _ in range(_TURNS_OF_AN_ACCEPT):
            await asyncio.sleep(0)
        self._server.end()
        await self._task
