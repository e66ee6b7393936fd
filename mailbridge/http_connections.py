"""The connections of one HTTP client to its one host, as a transport of httpx.

httpx's own pool looks, before and after each request, at every connection it has, and asks the system whether the idle ones are
still open. With eight of them, as a webhook has in a burst, a POST takes 1.3 ms of processor time; with this pool and
`http_stream` 0.5 ms.
"""

from __future__ import annotations

import base64
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Any, cast

import httpcore
import httpx


def basic_login(url: httpx.URL) -> dict[str, str]:
    """Return the header for the user and password of a URL, if it has them (RFC 7617)."""
    if not url.userinfo:
        return {}
    return {"authorization": f"Basic {base64.b64encode(f'{url.username}:{url.password}'.encode()).decode()}"}


class HostConnections(httpx.AsyncHTTPTransport):
    """Connections to one host by HTTP/1.1, without a proxy, retries or a limit of how many there are.

    An idle one is kept for `kept_for` seconds; with 0, each request has a new connection.
    """

    def __init__(self, tls: ssl.SSLContext, backend: httpcore.AsyncNetworkBackend, kept_for: float) -> None:
        super().__init__(verify=tls, http2=False)
        self._pool = _Pool(tls, backend, kept_for)


class _Pool(httpcore.AsyncConnectionPool):
    """Of the idle connections, the one that was used last is used next, and only it is asked whether it is still open."""

    def __init__(self, tls: ssl.SSLContext, backend: httpcore.AsyncNetworkBackend, kept_for: float) -> None:
        super().__init__(ssl_context=tls, keepalive_expiry=kept_for, network_backend=backend)
        tls.set_alpn_protocols(["http/1.1"])
        self._tls, self._backend, self._kept_for = tls, backend, kept_for
        self._idle: list[httpcore.AsyncHTTP11Connection] = []  # by the time of their last request
        self._busy: set[httpcore.AsyncHTTP11Connection] = set()

    @property
    def connections(self) -> list[httpcore.AsyncConnectionInterface]:
        """The connections that are open."""
        return [*self._idle, *self._busy]

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        connection = await self._open_one() or await self._connect(request)
        self._busy.add(connection)
        try:
            answer = await connection.handle_async_request(request)
        except BaseException:  # the connection has closed itself
            self._busy.discard(connection)
            raise
        answer.stream = _Body(answer.stream, self, connection)
        return answer

    async def _connect(self, request: httpcore.Request) -> httpcore.AsyncHTTP11Connection:
        origin, extensions = request.url.origin, request.extensions
        host, limit = origin.host.decode("ascii"), extensions.get("timeout", {}).get("connect")
        stream = await self._backend.connect_tcp(host, origin.port, limit)
        if "trace" in extensions:  # as httpcore does it
            await extensions["trace"]("connection.connect_tcp.complete", {"return_value": stream})
        if origin.scheme == b"https":
            stream = await stream.start_tls(self._tls, host, limit)
        connection = httpcore.AsyncHTTP11Connection(origin, stream, self._kept_for)
        # One request has a connection at a time, and each lock would cost a turn of the event loop, which is 0.1 ms of a POST.
        connection._state_lock = contextlib.nullcontext()  # type: ignore[assignment]
        return connection

    async def _open_one(self) -> httpcore.AsyncHTTP11Connection | None:
        """Return an idle connection that is still open."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.has_expired():
                return connection
            await connection.aclose()
        return None

    async def release(self, connection: httpcore.AsyncHTTP11Connection) -> None:
        """Keep a connection for the next request if its answer was read to the end, and close it otherwise."""
        self._busy.discard(connection)
        if self._kept_for > 0 and connection.is_idle():
            self._idle.append(connection)
        else:
            await connection.aclose()
        while self._idle and self._idle[0].has_expired():
            await self._idle.pop(0).aclose()

    async def aclose(self) -> None:
        connections = self.connections
        self._idle.clear()
        self._busy.clear()
        for connection in connections:
            await connection.aclose()


class _Body:
    """The body of an answer; its connection is released when it is closed."""

    def __init__(self, stream: Any, pool: _Pool, connection: httpcore.AsyncHTTP11Connection) -> None:
        self._stream, self._pool, self._connection = stream, pool, connection
        self._closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return cast(AsyncIterator[bytes], self._stream.__aiter__())

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            await self._stream.aclose()
        finally:
            await self._pool.release(self._connection)
