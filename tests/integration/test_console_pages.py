"""The pages of a fax as pictures: for who may see the fax alone, noted in the audit, and a broken document breaks nothing."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mailbridge.console import page_images
from mailbridge.errors import StoreUnavailable
from mailbridge.model import Document
from mailbridge.page.shown_page import ShownPage
from mailbridge.page.text_page import render
from tests.factories import NOW, a_fax, an_envelope
from tests.integration.console_fixtures import Site, check_page, with_console

PDF = render("the contract " * 1500)[0]


async def a_sent_fax(site: Site, content: bytes = PDF, user: str = "dana", **changes: Any) -> str:
    """Store a fax of one document; return its address."""
    envelope = an_envelope(NOW, user=user)
    file = site.spool.create(envelope.id)
    file.write(content)
    await file.commit()
    facts = {"name": "חוזה.pdf", "content_type": "application/pdf", "sha256": "ab" * 32, "path": file.relpath, "offset": 0}
    document = Document(**{**facts, "size": len(content), "length": len(content), **changes})
    fax = a_fax(documents=(document,), user=user)
    await site.store.run(lambda tx: tx.submissions.add(envelope, [fax], None, NOW))
    return f"/console/faxes/{fax.id}"


async def a_received_fax(site: Site, content: bytes = PDF) -> str:
    path = site.spool.store_received("fax_in.pdf", content)
    facts = {"sha256": "cd" * 32, "size": len(content), "content_type": "application/pdf", "filename": "in.pdf"}
    document = {"path": path, "pages": None, **facts}
    data: dict[str, Any] = {"direction": "inbound", "from": "+97239876543", "to": None, "trusted": True, "source": "mail"}
    data |= {"account": "office", "mailbox": "office", "subject": "", "received_at": "2026-01-04T09:00:00.000Z"}
    data |= {"document": document, "documents": [document]}
    event = await site.store.run(lambda tx: tx.events.emit("fax.received", data, NOW, "fax_01KE3Y0000000000000000000A"))
    return f"/console/received/{event.fax_id}"


def pictures(tree: Any) -> list[str]:
    return [one.get("src") for one in tree.iter("img") if "/pages/" in one.get("src")]


def test_the_pages_of_a_sent_fax_are_shown_and_noted_once(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        path = await a_sent_fax(site)
        browser = await site.user("dana")
        shown = pictures(check_page(await browser.get(path)))
        assert len(shown) > 2
        assert [one.rpartition("/")[0] for one in shown] == [f"{path}/documents/0/pages"] * len(shown)
        for one in shown:
            assert Image.open(io.BytesIO((await browser.get(one)).content)).width == 360
        tree = check_page(await browser.get(f"{shown[1]}/view"))
        assert pictures(tree) == [f"{shown[1]}?size=large"]
        links = [one.get("href") for one in tree.iter("a")]
        assert {path, f"{shown[0]}/view", f"{shown[2]}/view"} <= set(links)
        tree = check_page(await browser.get(f"{path}/documents/0/pages/999/view"))
        assert pictures(tree) == []
        check_page(await browser.get(f"{path}/documents/9/pages/1/view"), 404)
        (line,) = await site.audit("document.view")
        assert (line["user"], line["client"], line["document"]) == ("dana", "127.0.0.1", "pages")
        await (await site.user("vera")).get(shown[0])
        assert [line["user"] for line in await site.audit("document.view")] == ["dana", "vera"]
        for language, says in (("en", "dana looked at the pages."), ("he", "נצפה על ידי dana: העמודים.")):
            assert says in "".join(check_page(await (await site.user("vera", language=language)).get(path)).itertext())

    with_console(tmp_path, scenario)


def test_the_pages_of_a_received_fax_are_shown(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        path = await a_received_fax(site)
        browser = await site.user("vera")
        shown = pictures(check_page(await browser.get(path)))
        assert len(shown) > 2
        assert (await browser.get(shown[-1])).headers["content-type"] == "image/png"
        assert len(await site.audit("document.view")) == 1

    with_console(tmp_path, scenario)


def test_a_foreign_fax_has_no_pages_for_a_sender(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        sent, received = await a_sent_fax(site, user="erez"), await a_received_fax(site)
        browser = await site.user("dana")
        check_page(await browser.get(f"{sent}/documents/0/pages/1"), 404)
        check_page(await browser.get(f"{sent}/documents/0/pages/1/view"), 404)
        check_page(await browser.get(f"{received.replace('received', 'faxes')}/documents/0/pages/1"), 404)
        check_page(await browser.get(f"{received}/documents/0/pages/1"), 403)
        assert await site.audit("document.view") == []

    with_console(tmp_path, scenario)


@pytest.mark.parametrize(
    ("content", "changes", "says"),
    [
        (b"%PDF-1.4 broken", {}, "damaged"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", {"content_type": "image/svg+xml"}, "kind"),
        (b"<script>alert(1)</script>", {"content_type": "text/html"}, "kind"),
        (PDF, {"path": ""}, "deleted"),
        (PDF, {"content_type": "message/external-body", "name": "https://x.example/a.pdf"}, "its address"),
    ],
)
def test_a_document_that_cannot_be_shown_says_why(tmp_path: Path, content: bytes, changes: dict[str, Any], says: str) -> None:
    async def scenario(site: Site) -> None:
        path = await a_sent_fax(site, content, **changes)
        browser = await site.user("dana")
        tree = check_page(await browser.get(path))
        assert pictures(tree) == []
        assert says in "".join(tree.itertext())
        answer = await browser.get(f"{path}/documents/0/pages/1")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")
        assert b"script" not in answer.content

    with_console(tmp_path, scenario)


def test_a_page_does_not_wait_for_pictures_that_take_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(site: Site) -> None:
        go_on = asyncio.Event()

        async def slow(document: Document, number: int, width: int, viewer: str) -> ShownPage:
            await go_on.wait()
            return ShownPage(png=b"\x89PNG\r\n\x1a\n", pages=5)

        object.__setattr__(site.console.services, "pictures", slow)
        monkeypatch.setattr(page_images, "_PATIENCE", 0.01)
        browser = await site.user("dana")
        path = await a_sent_fax(site)
        assert pictures(check_page(await browser.get(path))) == [f"{path}/documents/0/pages/1"]
        go_on.set()
        assert (await browser.get(f"{path}/documents/0/pages/1")).headers["content-type"] == "image/png"
        assert len(pictures(check_page(await browser.get(path)))) == 5

    with_console(tmp_path, scenario)


def test_without_a_worker_the_rest_of_the_page_is_shown(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        async def fail(document: Document, number: int, width: int, viewer: str) -> ShownPage:
            raise StoreUnavailable("no worker")

        object.__setattr__(site.console.services, "pictures", fail)
        browser = await site.user("dana")
        path = await a_sent_fax(site)
        check_page(await browser.get(path))
        assert (await browser.get(f"{path}/documents/0/pages/1")).headers["content-type"] == "image/svg+xml"

    with_console(tmp_path, scenario)


def test_what_is_remembered_of_views_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_images, "_MOST_VIEWS", 2)

    async def scenario(site: Site) -> None:
        browser = await site.user("dana")
        for _ in range(4):
            await browser.get(await a_sent_fax(site))
        assert len(site.console.views) == 2
        assert len(await site.audit("document.view")) == 4

    with_console(tmp_path, scenario)
