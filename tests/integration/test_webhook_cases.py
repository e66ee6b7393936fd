"""Webhook receivers as other people have met them: cases W1 and W2 (W3 is in test_routing.py), and headers of one's own."""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from mailbridge.demo.http import HttpRequest
from mailbridge.demo.receiver import Receiver
from mailbridge.webhook.payload import body
from tests.integration.webhook_fixtures import NEW, Hooks, Render, in_hooks, now, receiving


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("https://app.example/hook/", "HTTP 301 to https://app.example/hook/; write that as the url"),
        ("https://user:pass@app.example/hook/", "HTTP 301 to https://app.example/hook/; write that as the url"),
        ("/hook/", "/hook/; write that as the url"),
        ("//app.example/hook", "HTTP 301 to http://app.example/hook; write that as the url"),
        ("https://app.example/" + "x" * 500, "HTTP 301 to https://app.example/" + "x" * 180 + "…; write that as the url"),
        ("http://[::1", "HTTP 301 to an address that is not valid (Invalid port: ':1')"),
    ],
)
def test_W1_a_redirect_shows_where_it_points(tmp_path: Path, location: str, words: str) -> None:
    async def scenario(hooks: Hooks) -> None:
        async with receiving() as (receiver, url):
            receiver.answers.append((301, {"location": location}))
            hooks.start("crm", url)
            failed = await hooks.failed(await hooks.emit())
            assert (failed.error or "").endswith(words)
            assert len(receiver.requests) == 1
            assert "pass" not in (failed.error or "")

    in_hooks(tmp_path, scenario)


@pytest.mark.parametrize("status", [300, 304, 308])
def test_W1_a_3xx_without_an_address_is_a_failure(tmp_path: Path, status: int) -> None:
    async def scenario(hooks: Hooks) -> None:
        async with receiving() as (receiver, url):
            receiver.answers.append((status, {}))
            hooks.start("crm", url)
            assert (await hooks.failed(await hooks.emit())).error == f"HTTP {status}"

    in_hooks(tmp_path, scenario)


def test_a_user_in_the_url_logs_in_and_a_cookie_is_not_sent_back(tmp_path: Path) -> None:
    async def scenario(hooks: Hooks) -> None:
        async with receiving() as (receiver, url):
            receiver.answers.append((200, {"set-cookie": "session=1; Path=/"}))
            hooks.start("crm", url.replace("://", "://dana:p%40ss@"))
            for _ in range(2):
                await hooks.settled(await hooks.emit(), "delivered")
        for headers in receiver.requests:
            assert base64.b64decode(headers["authorization"].removeprefix("Basic ")) == b"dana:p@ss"
            assert "cookie" not in headers
            assert "dana" not in headers["host"]
        assert len(receiver.requests) == 2

    in_hooks(tmp_path, scenario)


def test_headers_of_the_configuration_are_sent_and_replace_none_of_ours(tmp_path: Path) -> None:
    async def scenario(hooks: Hooks) -> None:
        async with receiving() as (receiver, url):
            hooks.start("crm", url, headers={"Authorization": "Bearer t0ken", "X-Tenant": "7", "User-Agent": "fax of the office"})
            await hooks.settled(await hooks.emit(), "delivered")
        [headers] = receiver.requests
        assert (headers["authorization"], headers["x-tenant"]) == ("Bearer t0ken", "7")
        assert headers["user-agent"] == "fax of the office"
        assert headers["content-type"] == "application/json"
        assert receiver.forged == 0

    in_hooks(tmp_path, scenario)


def test_the_user_agent_has_the_version(tmp_path: Path) -> None:
    async def scenario(hooks: Hooks) -> None:
        async with receiving() as (receiver, url):
            hooks.start("crm", url)
            await hooks.settled(await hooks.emit(), "delivered")
        assert receiver.requests[0]["user-agent"].startswith("mailbridge/0.")

    in_hooks(tmp_path, scenario)


class Limited(Receiver):
    """A receiver that answers 413 to a body above `limit` bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(NEW)
        self.limit, self.bodies = limit, list[dict[str, Any]]()

    async def _receive(self, request: HttpRequest) -> tuple[int, dict[str, str], bytes]:
        if len(request.body) > self.limit:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {}, b"too large for us"
        self.bodies.append(json.loads(request.body))
        # A leap of the clock is more than the signature's time may differ from the receiver's.
        return self.answers.popleft()[0] if self.answers else HTTPStatus.NO_CONTENT, {}, b""


def with_document(form: Any) -> Render:
    def link(_: Any) -> Any:
        return "https://fax.example/1", now()

    return lambda event: body(event, form, link=link, read=lambda _: bytes(3000), inline_limit=9999)


DOCUMENT = {"path": "x", "sha256": "cd", "size": 3000, "content_type": "application/pdf", "filename": "a.pdf", "pages": None}


def test_W2_a_413_to_an_inline_document_is_followed_by_a_link(tmp_path: Path) -> None:
    async def scenario(hooks: Hooks) -> None:
        receiver = Limited(2000)
        url = await receiver.start()
        try:
            hooks.render = with_document("inline")
            hooks.start("crm", url, with_document("link"), document="inline")
            event = await hooks.emit("fax.received", document=DOCUMENT)
            failed = await hooks.failed(event)
            assert failed.status == 413
            assert "bytes are too many; the next try has a link to the document" in (failed.error or "")
            # Whatever else fails meanwhile, it stays a link.
            receiver.answers.append((503, {}))
            hooks.leap(timedelta(seconds=10))
            await hooks.failed(event, 2)
            hooks.leap(timedelta(minutes=6))
            await hooks.settled(event, "delivered")
            assert [one["data"]["document"]["url"] for one in receiver.bodies] == ["https://fax.example/1"] * 2
            # The next event is tried inline again.
            small = await hooks.emit("fax.received", document=DOCUMENT)
            assert (await hooks.failed(small)).status == 413
        finally:
            await receiver.stop()

    in_hooks(tmp_path, scenario)


def test_W2_a_receiver_that_hangs_up_on_a_large_body_gets_a_link(tmp_path: Path) -> None:
    bodies: list[dict[str, Any]] = []

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        if size > 2000:
            writer.transport.abort()
            return
        bodies.append(json.loads(await reader.readexactly(size)))
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        writer.close()

    async def scenario(hooks: Hooks) -> None:
        server = await asyncio.start_server(receive, "127.0.0.1", 0)
        async with server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            hooks.render = with_document("inline")
            hooks.start("crm", url, with_document("link"), document="inline")
            event = await hooks.emit("fax.received", document=DOCUMENT)
            failed = await hooks.failed(event)
            assert (failed.error or "").startswith("the connection was lost (")
            assert "bytes may be too many; the next try has a link to the document" in (failed.error or "")
            hooks.leap(timedelta(seconds=10))
            await hooks.settled(event, "delivered")
            assert [one["data"]["document"]["url"] for one in bodies] == ["https://fax.example/1"]

    in_hooks(tmp_path, scenario)


def test_W2_a_413_to_a_link_says_no_more_than_that(tmp_path: Path) -> None:
    async def scenario(hooks: Hooks) -> None:
        async with receiving() as (receiver, url):
            receiver.answers.append((413, {}))
            hooks.start("crm", url)
            assert (await hooks.failed(await hooks.emit("fax.received", document=DOCUMENT))).error == "HTTP 413"

    in_hooks(tmp_path, scenario)
