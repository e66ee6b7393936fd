"""Case I2 beyond IMAP: where the first address of a host never answers, the second is tried within a quarter of a second."""

from __future__ import annotations

import asyncio
import socket
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from mailbridge.config.mail_addresses import RelayAddress
from mailbridge.model import Event
from mailbridge.myfax import MyFax
from mailbridge.notice.compose import Mail
from mailbridge.notice.relay import Relay, RelayUnavailable
from mailbridge.webhook.guard import guarded_transport
from tests.integration.fax_fixtures import EMAIL, running_simulator
from tests.integration.relay_stand_in import RelayStandIn, relay_running
from tests.integration.scripted_servers import PASSWORD
from tests.integration.webhook_fixtures import now, receiving, render

# Reserved for documentation (RFC 5737): nothing answers there.
BLACK_HOLE = "192.0.2.1"


def black_hole_first(monkeypatch: pytest.MonkeyPatch, *further: str) -> list[str]:
    """Let every name have a first address that never answers, and `further` ones; return the addresses tried."""
    loop, tried = asyncio.get_running_loop(), list[str]()
    connect = loop.sock_connect

    async def sock_connect(sock: socket.socket, address: Any) -> None:
        tried.append(address[0])
        if address[0] == BLACK_HOLE:
            await asyncio.Event().wait()
        await connect(sock, address)

    async def getaddrinfo(host: Any, port: Any, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in (BLACK_HOLE, *further)]

    monkeypatch.setattr(loop, "sock_connect", sock_connect)
    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    return tried


def test_I2_myfax(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with running_simulator() as (_, url):
            tried = black_hole_first(monkeypatch, "127.0.0.1")
            async with MyFax(EMAIL, PASSWORD, f"http://localhost:{urlsplit(url).port}/action/") as myfax:
                assert [item async for item in myfax.incoming()] == []
            assert tried == [BLACK_HOLE, "127.0.0.1"]

    asyncio.run(scenario())


def test_I2_a_webhook(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolver(host: str, port: int) -> list[str]:
        return [BLACK_HOLE, "127.0.0.1"]

    async def scenario() -> None:
        async with receiving() as (receiver, url):
            tried = black_hole_first(monkeypatch, "127.0.0.1")
            body = render(Event(id="evt_1", type="ping", at=now(), fax_id=None, seq=0, data={}))
            async with guarded_transport(True, resolver) as http:
                answer = await http.handle_async_request(httpx.Request("POST", url, content=body))
                assert isinstance(answer, httpx.Response)
            assert tried == [BLACK_HOLE, "127.0.0.1"]
            assert receiver.forged == 1  # it arrived

    asyncio.run(scenario())


def test_I2_the_relay_of_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with relay_running(RelayStandIn()) as relay:
            tried = black_hole_first(monkeypatch, "127.0.0.1")
            connection = await Relay(RelayAddress("relay.example", relay.port, tls=False), "fax.example").connect()
            sent = await connection.send(Mail(to="dana@example.co.il", content=b"Subject: x\r\n\r\nx\r\n"))
            await connection.close()
            assert (sent.kind, len(relay.taken), tried) == ("sent", 1, [BLACK_HOLE, "127.0.0.1"])

    asyncio.run(scenario())


def test_I2_a_relay_that_never_answers_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        black_hole_first(monkeypatch)
        with pytest.raises(RelayUnavailable, match=r"^relay\.example:25 does not answer"):
            await Relay(RelayAddress("relay.example", 25, tls=False), "fax.example", timeout=0.05).connect()

    asyncio.run(scenario())


def test_a_relay_whose_name_is_not_found_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    async def not_found(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def scenario() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", not_found)
        with pytest.raises(RelayUnavailable, match=r"^relay\.example:25 cannot be used: Name or service not known$"):
            await Relay(RelayAddress("relay.example", 25, tls=False), "fax.example").connect()

    asyncio.run(scenario())
