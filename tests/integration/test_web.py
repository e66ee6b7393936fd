"""Health, readiness, metrics and document links over real HTTP."""

from __future__ import annotations

import asyncio
import gc
import socket
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mailbridge import __version__
from mailbridge.assembly import document_links
from mailbridge.config import Config
from mailbridge.errors import StoreUnavailable
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.sqlite import SqliteStore
from mailbridge.web import connections
from mailbridge.web.app import build
from mailbridge.web.links import Links
from mailbridge.web.server import WebService
from tests.wait_helpers import PATIENCE, until

NOW = datetime(2026, 1, 4, 9, 0, tzinfo=UTC)
STORED = {"path": "received/aa/x.pdf", "filename": 'חוזה "1".pdf', "content_type": "application/pdf"}


class Settings:
    """What the tests change: the time, and whether the mailbox is up or its check fails."""

    def __init__(self, state: Path) -> None:
        self.now, self.mailbox_up, self.broken = NOW, True, False
        self.links = Links(bytes(32), "https://fax.example/")

    async def mailbox(self) -> bool:
        if self.broken:
            raise StoreUnavailable("disk full")
        return self.mailbox_up


def with_web(state: Path, scenario: Callable[[httpx.AsyncClient, Settings], Awaitable[None]]) -> None:
    async def main() -> None:
        settings = Settings(state)
        async with SqliteStore(state, lambda fax: {}, lambda type_: ["crm"]) as store:
            await store.run(lambda tx: tx.events.emit("ping", {}, NOW))
            app = build(
                store, LocalSpool(state / "spool"), settings.links, {"mailbox office": settings.mailbox}, lambda: settings.now
            )
            web = WebService("127.0.0.1", 0, app)
            host, port = await web.start()
            try:
                async with httpx.AsyncClient(
                    base_url=f"http://{host}:{port}", trust_env=False, verify=False, timeout=PATIENCE
                ) as http:
                    await scenario(http, settings)
            finally:
                await web.stop()

    asyncio.run(main())


def test_no_answer_waits_for_the_clients_acknowledgement() -> None:
    async def main() -> list[int]:
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            await Response("well")(scope, receive, send)

        web = WebService("127.0.0.1", 0, answer)
        host, port = await web.start()
        try:
            async with httpx.AsyncClient(trust_env=False, verify=False, timeout=PATIENCE) as http:
                await http.get(f"http://{host}:{port}/")
                connections: list[Any] = list(web._server.server_state.connections)
                sockets = [connection.transport.get_extra_info("socket") for connection in connections]
                return [sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for sock in sockets]
        finally:
            await web.stop()

    assert asyncio.run(main()) == [1]


def test_version_is_that_of_the_package(tmp_path: Path) -> None:
    async def scenario(http: httpx.AsyncClient, _: Settings) -> None:
        assert (await http.get("/version")).json() == {"version": __version__}

    with_web(tmp_path, scenario)


def test_healthz_and_readyz_answer(tmp_path: Path) -> None:
    async def scenario(http: httpx.AsyncClient, settings: Settings) -> None:
        assert (await http.get("/healthz")).status_code == 200
        assert (await http.get("/readyz")).json() == {"ready": True, "checks": {"mailbox office": True}}
        settings.mailbox_up = False
        assert (await http.get("/readyz")).status_code == 503
        settings.mailbox_up, settings.broken = True, True
        assert (await http.get("/readyz")).status_code == 503

    with_web(tmp_path, scenario)


def test_metrics_count_the_store(tmp_path: Path) -> None:
    async def scenario(http: httpx.AsyncClient, _: Settings) -> None:
        text = (await http.get("/metrics")).text
        assert 'mailbridge_deliveries{endpoint="crm",state="pending"} 1.0' in text
        assert 'mailbridge_faxes{state="queued"} 0.0' in text
        assert 'mailbridge_ready{name="office",part="mailbox"} 1.0' in text

    with_web(tmp_path, scenario)


def test_metrics_show_readiness_even_if_the_store_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(http: httpx.AsyncClient, settings: Settings) -> None:
        async def unavailable(self: SqliteStore, work: Callable[..., object]) -> object:
            raise StoreUnavailable("the database cannot take it now")

        settings.broken = True
        monkeypatch.setattr(SqliteStore, "run", unavailable)
        answer = await http.get("/metrics")
        assert answer.status_code == 200
        assert 'mailbridge_ready{name="office",part="mailbox"} 0.0' in answer.text
        assert "mailbridge_faxes{" not in answer.text

    with_web(tmp_path, scenario)


def test_a_store_error_after_its_caller_gave_up_is_not_reported(tmp_path: Path) -> None:
    messages: list[str] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: messages.append(context["message"]))
        async with SqliteStore(tmp_path, lambda fax: {}, lambda type_: []) as store:
            holding = sqlite3.connect(tmp_path / "mailbridge.sqlite3", isolation_level=None)
            holding.execute("BEGIN IMMEDIATE")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(store.run(_fail), 0.05)
            holding.close()
        gc.collect()

    asyncio.run(main())
    assert messages == []


def _fail(_: object) -> None:
    raise StoreUnavailable("too late")


def test_a_document_is_served_only_by_its_link_until_it_expires(tmp_path: Path) -> None:
    (tmp_path / "spool/received/aa").mkdir(parents=True)
    (tmp_path / "spool/received/aa/x.pdf").write_bytes(b"%PDF")

    async def scenario(http: httpx.AsyncClient, settings: Settings) -> None:
        url, expires = settings.links.link(STORED, NOW)
        assert url.startswith("https://fax.example/documents/")
        path = url.removeprefix("https://fax.example")
        answer = await http.get(path)
        assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, b"%PDF", "application/pdf")
        assert "filename*=UTF-8''%D7%97" in answer.headers["content-disposition"]
        for forged in (
            path[:-1] + ("A" if path[-1] != "A" else "B"),
            "/documents/x",
            "/documents/../link.key",
            path.split(".")[0],
        ):
            assert (await http.get(forged)).status_code == 404
        settings.now = expires
        assert (await http.get(path)).status_code == 410
        settings.now = expires - timedelta(seconds=1)
        (tmp_path / "spool/received/aa/x.pdf").unlink()
        assert (await http.get(path)).status_code == 410

    with_web(tmp_path, scenario)


def test_held_a_range_in_thousands_of_pieces_costs_no_more_than_the_document(tmp_path: Path) -> None:
    (tmp_path / "spool/received/aa").mkdir(parents=True)
    (tmp_path / "spool/received/aa/x.pdf").write_bytes(bytes(100_000))

    async def scenario(http: httpx.AsyncClient, settings: Settings) -> None:
        path = settings.links.link(STORED, NOW)[0].removeprefix("https://fax.example")
        for pieces in ("0-", ",".join(["0-99999"] * 6000), ",".join(f"{n}-{n}" for n in range(0, 12_000, 2))):
            answer = await http.get(path, headers={"range": f"bytes={pieces}"})
            assert answer.status_code in (200, 206, 400, 416, 431)
            assert len(answer.content) <= 100_000 + 100

    with_web(tmp_path, scenario)


def test_a_link_does_not_outlive_its_document(tmp_path: Path) -> None:
    account = {"office": {"email": "office@example.co.il", "password": "x"}}
    for kept, ends in (("1d", timedelta(days=1)), ("90d", timedelta(days=7))):
        config = Config.model_validate({"state_dir": tmp_path, "account": account, "retention": {"documents": kept}})
        _, expires = document_links(config, bytes(32)).link(STORED, NOW)
        assert expires == NOW + ends


@pytest.mark.parametrize(
    "path",
    ["mail/00/env_1.eml", "received/../mail/00/env_1.eml", "/etc/passwd", "", "receivedx/a", "../link.key", "received/a/../../x"],
)
def test_attack_15_a_link_leads_to_received_documents_only(path: str) -> None:
    """Even one that is signed with our key."""
    links = Links(bytes(32), "https://fax.example")
    document = {"path": path, "filename": "a.pdf", "content_type": "application/pdf"}
    token = links.link(document, datetime.now(UTC))[0].rpartition("/")[2]
    assert links.open(token) is None
    token = links.link({**document, "path": "received/07/fax_1"}, datetime.now(UTC))[0].rpartition("/")[2]
    assert links.open(token) is not None


@pytest.mark.parametrize(("speed", "answered"), [(0.1, True), (1_000_000, False)])
def test_a_body_that_keeps_coming_has_more_time(monkeypatch: pytest.MonkeyPatch, speed: float, answered: bool) -> None:
    """A person may send a large file over a slow line; who sends a byte now and then only holds a connection."""
    monkeypatch.setattr(connections, "REQUEST_TIMEOUT", 1000.0)
    monkeypatch.setattr(connections, "MIN_SPEED", speed)
    received: list[bytes] = []
    gone = asyncio.Event()

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async for chunk in Request(scope, receive).stream():
                received.append(chunk)
            await Response(str(len(b"".join(received))))(scope, receive, send)
        except ClientDisconnect:
            gone.set()

    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        now, passed = loop.time, 0
        monkeypatch.setattr(loop, "time", lambda: now() + passed)
        web = WebService("127.0.0.1", 0, answer)
        reader, writer = await asyncio.open_connection(*await web.start())
        try:
            writer.write(b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 300\r\n\r\n")
            for size in (100, 200, 300):
                writer.write(bytes(100))
                await until(lambda size=size: gone.is_set() or len(b"".join(received)) == size)
                passed += 600
                await asyncio.sleep(0)  # what is due by now
            return await asyncio.wait_for(reader.read(), PATIENCE)
        except ConnectionError:
            return b""
        finally:
            writer.close()
            await web.stop()

    assert asyncio.run(main()).endswith(b"\r\n\r\n300") is answered
