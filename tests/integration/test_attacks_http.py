"""Attacks on the HTTP server, by their numbers: silent connections and floods cost the others nothing."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mailbridge import log
from mailbridge.config import Smtp
from mailbridge.descriptors import allowed_connections
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.sqlite import SqliteStore
from mailbridge.submission import server
from mailbridge.web import turns
from mailbridge.web.app import build
from mailbridge.web.links import Links
from mailbridge.web.server import WebService
from mailbridge.web.shared_probe import SharedProbe
from tests.wait_helpers import PATIENCE, until

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /healthz HTTP/1.1\r\nHost: x\r\n%b\r\n\r\n"
HALF = b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"


class Web:
    """The HTTP server with an answer that waits for `release`, and a clock that can be set forward."""

    def __init__(self, most: int = 5) -> None:
        self.release = asyncio.Event()
        self.release.set()
        self.asked = 0
        self._clients: list[Client] = []
        self._service = WebService("127.0.0.1", 0, self._answer, most)
        loop = asyncio.get_running_loop()
        now, self.skipped = loop.time, 0.0
        loop.time = lambda: now() + self.skipped  # type: ignore[method-assign]  # the test sets it forward

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked += 1
        await self.release.wait()
        await Response("ok")(scope, receive, send)

    async def __aenter__(self) -> Web:
        self._address = await self._service.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release.set()
        for client in self._clients:
            await client.close()
        await self._service.stop()

    async def connect(self, text: bytes = b"", source: str = "127.0.0.1") -> Client:
        reader, writer = await asyncio.open_connection(*self._address, local_addr=(source, 0))
        client = Client(reader, writer)
        self._clients.append(client)
        client.send(text)
        return client

    def waiting(self, client: str) -> int:
        """How many inputs of a client wait for its turn."""
        assert self._service._connections is not None
        return len(self._service._connections.turns._waiting.get(client, ()))

    @property
    def open(self) -> int:
        return len(self._service._server.server_state.connections)


class Client:
    """One connection to it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def send(self, text: bytes) -> None:
        self._writer.write(text)

    async def answer(self) -> bytes:
        """Return one answer, or nothing where the connection is closed."""
        try:
            return await self._reader.readuntil(b"ok")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""

    async def all(self) -> bytes:
        """Return everything until the connection is closed."""
        found = b""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE):
                while chunk := await self._reader.read(65_536):
                    found += chunk
        return found

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario()

    asyncio.run(main())


def test_attack_7_connections_without_a_whole_request_are_closed_after_ten_seconds() -> None:
    async def scenario() -> None:
        async with Web() as web:
            silent, half, body = [await web.connect(text) for text in (b"", b"GET /healthz HTT", HALF)]
            web.release.clear()
            slow = await web.connect(GET)
            await until(lambda: web.asked == 2)
            web.skipped += 9
            await asyncio.sleep(0)
            half.send(b"P/1.1\r\nHost:")
            body.send(b"more")
            web.skipped += 2
            assert [await client.answer() for client in (silent, half, body)] == [b""] * 3
            # A whole request is answered, however long that takes.
            web.skipped += 100
            web.release.set()
            assert (await slow.answer()).startswith(b"HTTP/1.1 200 OK")
            slow.send(GET)
            assert (await slow.answer()).startswith(b"HTTP/1.1 200 OK")
            slow.send(b"GET")
            await until(lambda: web.open == 1)
            web.skipped += 11
            assert await slow.answer() == b""

    run(scenario)


def test_attack_7_the_connection_that_waited_longest_for_a_request_gives_way_to_a_new_one() -> None:
    async def scenario() -> None:
        async with Web(most=5) as web:
            silent = [await web.connect() for _ in range(5)]
            await until(lambda: web.open == 5)
            asking = await web.connect(GET)
            assert (await asking.answer()).startswith(b"HTTP/1.1 200 OK")
            assert await silent[0].answer() == b""
            await asking.close()
            await until(lambda: web.open == 4)
            # Nobody whose request is being answered gives way.
            web.release.clear()
            busy = [await web.connect(GET) for _ in range(5)]
            await until(lambda: web.asked == 6)
            assert await (await web.connect(GET)).answer() == b""
            web.release.set()
            for client in busy:
                assert (await client.answer()).startswith(b"HTTP/1.1 200 OK")
            assert web.open <= 5

    run(scenario)


@pytest.mark.parametrize(
    "request_",
    [
        POST % b"Transfer-Encoding: chunked" + b"1\r\na\r\n" * 40_000,
        POST % b"Transfer-Encoding: identity, chunked" + b"0\r\n" + b"a:b\r\n" * 40_000 + b"\r\n",
        POST % b"transfer-encoding : chunked" + b"0\r\n\r\n",
        GET[:-2] + b"a:b\r\n" * 12_000 + b"\r\n",
        GET[:-2] + b"a: b\r\n" + b" c\r\n" * 15_000 + b"\r\n",
        GET[:-2] + b"a: " + b"b" * 17_000 + b"\r\n\r\n",
        GET[:-2] + b"a:b\n" * 12_000 + b"\n",
        GET.replace(b"/healthz", b"/" + b"%41" * 20_000),
        b"\r\n" * 50_000,
        b"G" * 100_000,
    ],
    ids=["chunks", "trailers", "a blank", "fields", "folded", "a long field", "LF", "a long address", "blank lines", "no line"],
)
def test_attack_1_a_request_that_takes_long_to_read_is_refused_unread(request_: bytes) -> None:
    async def scenario() -> None:
        async with Web() as web:
            assert (await (await web.connect(request_)).all()).startswith(b"HTTP/1.1 400 Bad Request")
            assert web.asked == 0

    run(scenario)


def test_requests_as_browsers_send_them_are_no_attack() -> None:
    async def scenario() -> None:
        async with Web() as web:
            head = GET[:-2] + b"Cookie: " + b"a=b; " * 3_000 + b"\r\n\r\n"
            body = POST % b"Content-Length: 900000" + b"x" * 900_000
            client = await web.connect(head + head + body + GET)
            for _ in range(4):
                assert (await client.answer()).startswith(b"HTTP/1.1 200 OK")

    run(scenario)


def test_attack_14_a_flood_of_one_address_delays_its_own_requests_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "INTERVAL", 3600.0)  # the second turn of one client does not come in this test

    async def scenario() -> None:
        async with Web(most=50) as web:
            flood = [await web.connect(GET + GET, source="127.0.0.2") for _ in range(40)]
            # One is read and answered; the other connections, and that one's second request, wait for the client's turn.
            await until(lambda: web.asked == 1 and web.waiting("127.0.0.2") == 40)
            quiet = await web.connect(GET)
            async with asyncio.timeout(PATIENCE):
                assert (await quiet.answer()).startswith(b"HTTP/1.1 200 OK")
                assert (await flood[0].answer()).startswith(b"HTTP/1.1 200 OK")
            assert web.asked == 2

    run(scenario)


def test_attack_14_a_client_rests_for_what_its_answers_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with Web() as web:
            charges: list[tuple[str, float]] = []
            assert web._service._connections is not None
            monkeypatch.setattr(web._service._connections.turns, "charge", lambda *charge: charges.append(charge))
            client = await web.connect(GET, source="127.0.0.2")
            assert (await client.answer()).startswith(b"HTTP/1.1 200 OK")
            await client.close()
            await until(lambda: web.open == 0)
            # Reading the request, and at least one step of the answer.
            assert len(charges) >= 2
            assert {who for who, _ in charges} == {"127.0.0.2"}

    run(scenario)


@pytest.mark.parametrize(
    ("limit", "smtp", "http"), [(8192, 4021, 100), (1024, 437, 100), (256, 82, 41), (64, 5, 4), (24, 4, 4), (-1, 524213, 100)]
)
def test_attack_7_fifty_descriptors_are_kept_from_connections(
    monkeypatch: pytest.MonkeyPatch, limit: int, smtp: int, http: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    allowed = allowed_connections()
    assert (allowed.smtp, allowed.http) == (smtp, http)
    warned: list[object] = []
    monkeypatch.setattr(log, "descriptors_short", lambda _, **facts: warned.append(facts))
    assert server._most_connections(Smtp()) == min(500, smtp)
    assert bool(warned) == (smtp < 500)


def test_attack_14_all_askers_share_one_probe_a_second() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        now, skipped, asked = loop.time, 0.0, 0
        loop.time = lambda: now() + skipped  # type: ignore[method-assign]  # the test sets it forward
        go = asyncio.Event()

        async def ask() -> int:
            nonlocal asked
            asked += 1
            await go.wait()
            return asked

        probe = SharedProbe(ask)
        asking = [asyncio.create_task(probe()) for _ in range(40)]
        await asyncio.sleep(0)
        asking[0].cancel()
        await asyncio.sleep(0)
        go.set()
        assert await asyncio.gather(*asking[1:]) == [1] * 39
        assert await probe() == 1
        skipped += 1.01
        assert await probe() == 2

    run(scenario)


def test_attack_14_a_probe_that_fails_is_made_again() -> None:
    async def scenario() -> None:
        failures = [OSError("once")]

        async def ask() -> str:
            if failures:
                raise failures.pop()
            return "well"

        probe = SharedProbe(ask)
        with pytest.raises(OSError, match="once"):
            await probe()
        assert await probe() == "well"

    run(scenario)


def test_attack_14_metrics_ask_the_store_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        asked = 0
        run_in_store = SqliteStore.run

        async def counted(store: SqliteStore, work: Callable[..., object]) -> object:
            nonlocal asked
            asked += 1
            return await run_in_store(store, work)

        async with SqliteStore(tmp_path, lambda fax: {}, lambda event: []) as store:
            monkeypatch.setattr(SqliteStore, "run", counted)
            loop = asyncio.get_running_loop()
            at = loop.time()
            loop.time = lambda: at  # type: ignore[method-assign]  # the clock stands still
            app = build(store, LocalSpool(tmp_path / "spool"), Links(b"x" * 32, "http://x"), {}, lambda: datetime.now(UTC))
            sent: list[int] = []

            async def send(message: dict[str, object]) -> None:
                sent.extend([int(str(message["status"]))] if "status" in message else [])

            async def receive() -> dict[str, object]:
                return {"type": "http.request"}

            scope = {"type": "http", "method": "GET", "path": "/metrics", "headers": [], "query_string": b""}
            await asyncio.gather(*(app(dict(scope), receive, send) for _ in range(40)))  # type: ignore[arg-type]  # plain dicts
            assert (sent, asked) == ([200] * 40, 1)
            del loop.time

    run(scenario)


def test_attack_14_the_daemons_store_check_is_shared(tmp_path: Path) -> None:
    from mailbridge.app import _health_checks

    async def scenario() -> None:
        async with SqliteStore(tmp_path, lambda fax: {}, lambda event: []) as store:
            spool = LocalSpool(tmp_path / "spool")
            spool.create("env_1").abort()
            check = _health_checks(store, spool, dict)["store"]
            assert isinstance(check, SharedProbe)
            assert await check()

    run(scenario)
