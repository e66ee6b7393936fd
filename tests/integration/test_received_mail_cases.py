"""Mails about received faxes as other people have met them: cases I8 and I9, each with its kind."""

from __future__ import annotations

import asyncio
import json
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from mailbridge.demo.mailbox import DemoMailbox
from mailbridge.model import Event
from mailbridge.report.imap_responses import FetchedMail
from mailbridge.report.mail_body import MAX_DOCUMENTS
from mailbridge.report.parser import ParsedMail, parse
from mailbridge.store import orphans
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.retention import Retention
from mailbridge.webhook.payload import body
from tests.integration.watcher_fixtures import a_store, clock, events, settings, watching

NAME = "פקס"
# A type, a file name, a disposition and a Content-ID.
Part = tuple[str, str, str | None, str | None]
RAW = {"windows-1255": NAME.encode("windows-1255"), "UTF-8": NAME.encode()}


def read(content: bytes) -> ParsedMail:
    return parse(FetchedMail(1, len(content), content))


def mail_with(*headers: bytes) -> bytes:
    head = b"Message-ID: <i8@office.example>\r\nX-Fax-Sender: 025551234\r\nMIME-Version: 1.0\r\n"
    return head + b"".join(header + b"\r\n" for header in headers) + b"\r\n%PDF-1.4\r\n"


@pytest.mark.parametrize("raw", RAW.values(), ids=RAW)
@pytest.mark.parametrize(
    "headers",
    [
        [b"Content-Type: application/pdf", b'Content-Disposition: attachment; filename="%%.pdf"'],
        [b"Content-Type: application/pdf", b"Content-Disposition: attachment; filename=%%.pdf"],
        [b"Content-Type: application/pdf", b'Content-Disposition: attachment;\r\n filename="%%.pdf"; size=9'],
        [b'Content-Type: application/pdf; name="%%.pdf"'],
        [b"Content-Type: application/pdf", b'CONTENT-DISPOSITION: attachment; FILENAME="%%.pdf"'],
    ],
    ids=["quoted", "bare", "folded", "by name", "capitals"],
)
def test_I8_a_raw_8bit_name_is_read(headers: list[bytes], raw: bytes) -> None:
    [document] = read(mail_with(*(header.replace(b"%%", raw) for header in headers))).attachments
    assert document.filename == f"{NAME}.pdf"


@pytest.mark.parametrize(
    "disposition",
    [
        b"attachment; filename*=UTF-8''%D7%A4%D7%A7%D7%A1.pdf",
        b"attachment; filename*=windows-1255''%F4%F7%F1.pdf",
        b"attachment; filename*0*=UTF-8''%D7%A4%D7%A7; filename*1*=%D7%A1.pdf",
        b'attachment; filename="=?utf-8?B?16TXp9ehLnBkZg==?="',
        b"attachment; filename==?utf-8?B?16TXp9ehLnBkZg==?=",
    ],
)
def test_I8_encoded_names_are_read_as_before(disposition: bytes) -> None:
    [document] = read(mail_with(b"Content-Type: application/pdf", b"Content-Disposition: " + disposition)).attachments
    assert document.filename == f"{NAME}.pdf"


def fax_mail(*parts: Part) -> bytes:
    """Return a mail with attachments, each by its type, name, disposition and Content-ID; the content is the name."""
    mail = EmailMessage()
    mail["X-Fax-Sender"], mail["Message-ID"] = "025551234", "<i9@office.example>"
    mail.set_content("A fax has arrived.")
    for content_type, name, disposition, cid in parts:
        maintype, subtype = content_type.split("/")
        mail.add_attachment(f"%PDF {name}".encode(), maintype=maintype, subtype=subtype, filename=name, cid=cid)
        attached: Any = list(mail.iter_attachments())[-1]
        if disposition != "attachment":
            attached.replace_header("Content-Disposition", f'{disposition}; filename="{name}"')
    return mail.as_bytes()


PDF, TIFF, PNG = "application/pdf", "image/tiff", "image/png"
FAXES: dict[str, tuple[list[Part], list[str]]] = {
    "two PDFs": ([(PDF, "1.pdf", "attachment", None), (PDF, "2.pdf", "attachment", None)], ["1.pdf", "2.pdf"]),
    "a PDF and a TIFF": ([(TIFF, "1.tif", "inline", None), (PDF, "2.pdf", "attachment", None)], ["1.tif", "2.pdf"]),
    "pages as pictures": ([(PNG, f"{n}.png", "inline", None) for n in (1, 2, 3)], ["1.png", "2.png", "3.png"]),
    "a picture beside a PDF": ([(PNG, "map.png", "attachment", None), (PDF, "1.pdf", "attachment", None)], ["1.pdf", "map.png"]),
    "a logo beside two PDFs": (
        [(PNG, "logo.png", "inline", "<logo>"), (PDF, "1.pdf", "attachment", None), (PDF, "2.pdf", "inline", "<2>")],
        ["1.pdf", "2.pdf"],
    ),
    "a logo without an id": ([(PNG, "logo.png", "inline", None), (PDF, "1.pdf", "attachment", None)], ["1.pdf"]),
    "no document": ([("text/calendar", "a.ics", "attachment", None)], []),
}  # fmt: skip


@pytest.mark.parametrize("case", FAXES)
def test_I9_every_document_is_found_and_no_logo(case: str) -> None:
    parts, names = FAXES[case]
    found = read(fax_mail(*parts))
    assert [document.filename for document in found.attachments] == names
    assert found.report.defects == ()


def test_I9_more_documents_than_any_fax_has_are_a_defect() -> None:
    found = read(fax_mail(*[(PDF, f"{n}.pdf", "attachment", None) for n in range(MAX_DOCUMENTS + 1)]))
    assert len(found.attachments) == MAX_DOCUMENTS
    assert found.report.defects == (f"the mail has {MAX_DOCUMENTS + 1} documents; the first {MAX_DOCUMENTS} are kept",)


TWO = fax_mail(*FAXES["two PDFs"][0])


async def received(tmp_path: Path, store: Any) -> Event:
    async with DemoMailbox() as mailbox, watching(settings(mailbox.port), store, tmp_path):
        await mailbox.deliver(TWO)
        [event] = await events(store, 1, "fax.received")
        return event


def test_I9_every_document_is_in_the_event_and_its_file_in_the_spool(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with a_store(tmp_path) as store:
            event = await received(tmp_path, store)
            spool = LocalSpool(tmp_path / "spool")
            documents = event.data["documents"]
            assert [one["filename"] for one in documents] == ["1.pdf", "2.pdf"]
            assert event.data["document"] == documents[0]
            contents = [spool.path(one["path"]).read_bytes() for one in documents]
            assert contents == [b"%PDF 1.pdf", b"%PDF 2.pdf"]
            # Both files belong to the event: a start deletes neither.
            assert await orphans.sweep(store, spool, clock()) == 0
            assert all(spool.path(one["path"]).exists() for one in documents)
            # They are deleted together when they expire.
            await Retention(0.0, 86400.0, store, spool, clock).sweep(clock())
            assert not any(spool.path(one["path"]).exists() for one in documents)
            [event] = await events(store, 1, "fax.received")
            assert [one["path"] for one in event.data["documents"]] == ["", ""]
            [line] = [line for line in await store.run(lambda tx: tx.audit.newest()) if line.what == "document.deleted"]
            assert [one["sha256"] for one in line.record["documents"]] == [one["sha256"] for one in documents]

    asyncio.run(scenario())


def test_I9_files_of_a_mail_that_was_not_recorded_are_orphans(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with a_store(tmp_path) as store:
            spool = LocalSpool(tmp_path / "spool")
            for name in ("fax_01KE4B8W3PWJ5N0Q9Z7V3T1XGB", "fax_01KE4B8W3PWJ5N0Q9Z7V3T1XGB.2"):
                spool.store_received(name, b"%PDF")
            assert await orphans.sweep(store, spool, clock()) == 2

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("form", "limit", "expected"),
    [
        ("link", 100, ["url", "url"]),
        ("inline", 100, ["content", "content"]),
        ("inline", 15, ["content", "url"]),
        ("inline", 5, ["url", "url"]),
        ("none", 100, []),
    ],
)
def test_I9_a_webhook_gets_every_document_in_its_form(tmp_path: Path, form: Any, limit: int, expected: list[str]) -> None:
    async def scenario() -> None:
        async with a_store(tmp_path) as store:
            event = await received(tmp_path, store)
        spool = LocalSpool(tmp_path / "spool")

        def link(document: Any) -> Any:
            return f"https://fax.example/{document['filename']}", clock()

        sent = json.loads(body(event, form, link=link, read=lambda path: spool.path(path).read_bytes(), inline_limit=limit))
        documents = sent["data"]["documents"]
        assert [next(key for key in ("url", "content") if key in one) for one in documents] == expected
        assert sent["data"]["document"] == (documents[0] if documents else None)
        assert not any("path" in one for one in documents)

    asyncio.run(scenario())
