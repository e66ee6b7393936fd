"""The connections of an HTTP client: which are used again, when they are closed, and that neither side can flood the other."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpcore
import httpx
import pytest

from mailbridge import http_stream
from mailbridge.http_connections import HostConnections
from mailbridge.http_stream import AsyncioBackend
from tests.integration.scripted_servers import certificate
from tests.wait_helpers import until

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """Counts connections, and lets a test end them."""

    def __init__(self, serve: Serve | None = None) -> None:
        self._serve, self.writers, self.requests = serve or self._answer, list[asyncio.StreamWriter](), 0

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.requests += 1
                writer.write(_OK)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        await self._serve(reader, writer)
        writer.close()

    @contextlib.asynccontextmanager
    async def running(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=tls)
        try:
            yield f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        finally:
            server.close()
            for writer in self.writers:
                writer.transport.abort()


def connections(kept_for: float = 60.0) -> HostConnections:
    return HostConnections(ssl.create_default_context(), AsyncioBackend(), kept_for)


async def get(http: HostConnections, url: str) -> bytes:
    answer = await http.handle_async_request(httpx.Request("GET", url))
    content = await answer.aread()
    await answer.aclose()
    return content


def test_an_idle_connection_is_used_again_until_its_server_closes_it() -> None:
    async def main() -> None:
        server = Server()
        async with server.running() as url, connections() as http:
            for _ in range(3):
                assert await get(http, url) == b"ok"
            assert len(server.writers) == 1
            server.writers[0].close()
            [idle] = http._pool.connections
            await until(idle.has_expired)
            assert await get(http, url) == b"ok"
            assert len(server.writers) == 2
        assert http._pool.connections == []

    asyncio.run(main())


def test_as_many_connections_as_requests_at_once_and_the_newest_is_used_next() -> None:
    async def main() -> None:
        server = Server()
        async with server.running() as url, connections() as http:
            await asyncio.gather(*(get(http, url) for _ in range(3)))
            assert len(server.writers) == 3
            newest = http._pool.connections[-1]
            await get(http, url)
            assert http._pool.connections[-1] is newest
            assert len(http._pool.connections) == 3

    asyncio.run(main())


def test_without_keeping_each_request_has_a_connection_that_is_then_closed() -> None:
    async def main() -> None:
        server = Server()
        async with server.running() as url, connections(kept_for=0.0) as http:
            for count in (1, 2):
                await get(http, url)
                assert (len(server.writers), http._pool.connections) == (count, [])

    asyncio.run(main())


def test_connections_that_were_idle_too_long_are_closed_although_others_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]

    async def main() -> None:
        server = Server()
        async with server.running() as url, connections(kept_for=1.5) as http:
            await asyncio.gather(*(get(http, url) for _ in range(3)))
            for _ in range(3):
                now[0] += 1.0
                await get(http, url)
            assert len(http._pool.connections) == 1
            assert len(server.writers) == 3

    monkeypatch.setattr("httpcore._async.http11.time.monotonic", lambda: now[0])
    asyncio.run(main())


@pytest.mark.parametrize("when", ["before the answer", "in its body"])
def test_a_cancelled_request_closes_its_connection(when: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if when == "in its body":
            writer.write(_OK[:-1])
        reached.set()
        assert await reader.read() == b""
        closed.set()

    reached, closed = asyncio.Event(), asyncio.Event()

    async def main() -> None:
        async with Server(serve).running() as url, connections() as http:
            asking = asyncio.create_task(get(http, url))
            await reached.wait()
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            await closed.wait()
            assert http._pool.connections == []

    asyncio.run(main())


def test_a_server_that_sends_without_end_is_read_no_further_than_is_asked_for() -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(bytes(1 << 16))
                await writer.drain()

    async def main() -> None:
        async with Server(flood).running() as url:
            stream = await AsyncioBackend().connect_tcp("127.0.0.1", httpx.URL(url).port or 0)
            assert isinstance(stream, http_stream._Stream)
            await until(lambda: stream._paused)
            # What one `recv` brings at most is beyond the limit (asyncio's `max_size`).
            assert len(stream._received) <= http_stream._READ_AHEAD + (1 << 18)
            for _ in range(100):
                assert 0 < len(await stream.read(8192)) <= 8192
            await stream.aclose()

    asyncio.run(main())


def test_a_server_that_does_not_read_holds_the_writer_until_it_is_gone() -> None:
    async def main() -> None:
        async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # of a socket's transport
            await asyncio.Event().wait()

        server = Server(deaf)
        async with server.running() as url:
            stream = await AsyncioBackend().connect_tcp("127.0.0.1", httpx.URL(url).port or 0)
            assert isinstance(stream, http_stream._Stream)

            async def flood() -> None:
                while True:
                    await stream.write(bytes(1 << 20), timeout=0.01)

            with pytest.raises(httpcore.WriteTimeout):
                await flood()
            assert stream._is_full
            writing = asyncio.create_task(stream.write(b"more"))
            await asyncio.sleep(0)
            assert not writing.done()
            server.writers[0].transport.abort()
            with pytest.raises(httpcore.WriteError):
                await writing
            with pytest.raises(httpcore.WriteError):
                await stream.write(b"more")

    asyncio.run(main())


def test_tls_is_verified_and_a_refused_certificate_leaves_no_connection(tmp_path: Path) -> None:
    async def main() -> None:
        server, trusted = Server(), ssl.create_default_context()
        async with server.running(certificate(tmp_path)) as url:
            async with connections() as http:
                with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                    await get(http, url)
                assert http._pool.connections == []
            trusted.load_verify_locations(tmp_path / "cert.pem")
            async with HostConnections(trusted, AsyncioBackend(), 60.0) as http:
                assert (await get(http, url), await get(http, url), server.requests) == (b"ok", b"ok", 2)

    asyncio.run(main())


def test_a_host_that_is_an_address_needs_no_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with Server().running() as url, connections() as http:
            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", None)
            assert await get(http, url) == b"ok"

    asyncio.run(main())


def test_what_comes_in_clear_before_tls_is_not_taken_for_the_answer(tmp_path: Path) -> None:
    """Somebody on the way needs no certificate to put an answer before the server's handshake (as CVE-2021-23222)."""

    async def main() -> None:
        async def forge(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(_OK)
            with contextlib.suppress(OSError):
                await writer.start_tls(server_tls)
                await reader.read()

        server_tls, trusted = certificate(tmp_path), ssl.create_default_context()
        trusted.load_verify_locations(tmp_path / "cert.pem")
        async with Server(forge).running() as url:
            stream = await AsyncioBackend().connect_tcp("127.0.0.1", httpx.URL(url).port or 0)
            await until(lambda: bool(stream.get_extra_info("is_readable")))
            with pytest.raises(httpcore.ConnectError, match="before TLS"):
                await stream.start_tls(trusted, "127.0.0.1")
            assert isinstance(stream, http_stream._Stream)
            assert stream._transport.is_closing()

    asyncio.run(main())
