"""Confirmations: one page that claims nothing that is not known, made in a worker, attached to notices and by `show`."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pypdfium2
import pytest
from PIL import Image

from mailbridge.model import Document, Email, Failure, Fax
from mailbridge.notice.compose import Letterhead
from mailbridge.notice.confirmation import confirmation_text
from mailbridge.notice.writer import confirmation_of_fax
from mailbridge.page.text_page import render
from mailbridge.store.local_spool import LocalSpool
from mailbridge.submission.letter_reader import LetterReader
from tests.factories import NOW, a_fax
from tests.integration.notice_fixtures import Office, an_office
from tests.wait_helpers import PATIENCE, until

pytestmark = pytest.mark.usefixtures("preloaded_fork_server")

CODE = "3cf6c2ae-7d0b-4b8e-9b53-5a4f6f0c2d11"
LETTERHEAD = Letterhead(
    sender="x@y", hostname="gw", gateway="fax.local", language="en", zone=ZoneInfo("Asia/Jerusalem"), user_languages={}
)


def document(content: bytes, path: Path, **changes: Any) -> Document:
    """Write a document to a spool, behind other bytes."""
    path.write_bytes(b"before" + content)
    facts: dict[str, Any] = {"name": "חוזה.pdf", "content_type": "application/pdf", "sha256": "ab" * 32, "path": path.name}
    return Document(**{**facts, "size": len(content), "offset": 6, "length": len(content), **changes})


def a_sent_fax(**changes: Any) -> Fax:
    email = Email(sender="dana@example.co.il", subject="חוזה לחתימה")
    facts: dict[str, Any] = {
        "state": "delivered",
        "final_at": NOW,
        "pages": 3,
        "price": "0.40",
        "fax_code": CODE,
        "source": "report",
    }
    return a_fax(**{**facts, "user": "dana", "email": email, **changes})


@asynccontextmanager
async def a_reader(spool: Path) -> AsyncIterator[LetterReader]:
    reader = LetterReader(LocalSpool(spool), "auto", workers=1)
    await reader.start()
    try:
        yield reader
    finally:
        await reader.stop()


def read(content: bytes) -> tuple[str, int]:
    """Return the text of a PDF of one page, and how many pictures it has."""
    opened: Any = pypdfium2.PdfDocument(content)
    assert len(opened) == 1
    page = opened[0]
    pictures = sum(1 for item in page.get_objects() if isinstance(item, pypdfium2.PdfImage))
    text = page.get_textpage().get_text_range()
    opened.close()
    return text, pictures


def made(spool: Path, fax: Fax, language: Any = "en") -> tuple[str, int]:
    async def main() -> bytes:
        async with asyncio.timeout(PATIENCE), a_reader(spool) as reader:
            text = confirmation_text(fax, replace(LETTERHEAD, language=language))
            return await reader.confirmation(text, next(iter(fax.documents), None), "user dana")

    return read(asyncio.run(main()))


def test_it_says_what_is_known_and_shows_the_first_page(tmp_path: Path) -> None:
    fax = a_sent_fax(documents=(document(render("the contract")[0], tmp_path / "a"),))
    text, pictures = made(tmp_path, fax)
    known = ("Fax confirmation", "03-9876543", "a report mailed by MyFax", CODE, "0.40", "office", "dana", fax.id, "ab" * 32)
    assert [word for word in known if word not in text] == []
    assert pictures == 1
    text, _ = made(tmp_path, fax, "he")
    assert CODE in text


@pytest.mark.parametrize("kind", ["TIFF", "JPEG", "PNG"])
def test_a_picture_is_shown_too(tmp_path: Path, kind: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (1700, 2200), "white").save(file, kind)
    assert made(tmp_path, a_sent_fax(documents=(document(file.getvalue(), tmp_path / "a"),)))[1] == 1


@pytest.mark.parametrize("content", [b"%PDF-1.4 broken", b"PK\x03\x04 a document of Word", b"", b"\xff\xd8\xff broken"])
def test_what_cannot_be_shown_is_left_out(tmp_path: Path, content: bytes) -> None:
    text, pictures = made(tmp_path, a_sent_fax(documents=(document(content, tmp_path / "a"),)))
    assert ("Fax confirmation" in text, pictures) == (True, 0)


def test_without_its_document_it_is_made_without_the_picture(tmp_path: Path) -> None:
    gone = replace(document(b"x", tmp_path / "a"), path="")
    text, pictures = made(tmp_path, a_sent_fax(documents=(gone,)))
    assert ("deleted after their retention time" in text, "ab" * 32 in text, pictures) == (True, True, 0)


def test_many_and_long_names_stay_on_one_page(tmp_path: Path) -> None:
    one = document(render("page")[0], tmp_path / "a", name="long name " * 40)
    many = a_sent_fax(documents=(one,) * 60, email=Email(sender="a" * 300, subject="שלום " * 100))
    text, _ = made(tmp_path, many)
    assert "54" in text


def test_a_doubt_confirms_nothing() -> None:
    text = confirmation_text(a_sent_fax(state="in_doubt", final_at=None, source="upload", fax_code=None), LETTERHEAD)
    assert text.title == "Not known whether the fax was sent"
    assert "this page confirms nothing" in text.remarks[0]
    labels = [label for label, _ in text.rows]
    assert not {"Time of the result", "As told by", "FAX_CODE at MyFax"} & set(labels)


@pytest.mark.parametrize("source", ["poll", "report", "person", "upload", "expiry", None])
def test_the_result_names_the_way_by_which_it_is_known(source: Any) -> None:
    failure = Failure(code="busy", message="/var/lib/secret", provider_code=3)
    rows = dict(confirmation_text(a_sent_fax(state="failed", source=source, failure=failure), LETTERHEAD).rows)
    assert rows["Result"] == "The recipient's line was busy. (3)"
    assert ("As told by" in rows) == (source is not None)
    assert "secret" not in str(rows)


@pytest.mark.parametrize(
    ("confirmation", "form", "expected"), [("true", "auto", True), ("false", "auto", False), ("true", "dsn", False)]
)
def test_it_is_attached_to_mails_about_delivered_and_failed_faxes(
    tmp_path: Path, confirmation: str, form: str, expected: bool
) -> None:
    on = f'on = ["failed", "in_doubt", "delivered"]\nconfirmation = {confirmation}\nform = "{form}"'

    async def scenario(office: Office) -> None:
        [one, two] = await office.accept("03-9876543", "03-9876544")
        [doubt] = await office.accept("03-9876545", triggers=("claim", "lose"))
        await office.move(one, "confirm")
        await office.move(two, "fail")
        mails = await office.mails()
        files = {part.get_filename(): part.get_content() for mail in mails for part in mail.message.iter_attachments()}
        if form == "dsn":
            files = {name: content for name, content in files.items() if name}
        assert set(files) == ({f"{one.id}.pdf", f"{two.id}.pdf"} if expected else set())
        for name, content in files.items():
            assert read(content)[0].count(str(name).removesuffix(".pdf")) == 1
        assert doubt.id not in str(files)

    async def main() -> None:
        spool = tmp_path / "state/spool"
        spool.mkdir(parents=True)
        async with (
            asyncio.timeout(PATIENCE),
            a_reader(spool) as reader,
            an_office(tmp_path, on, confirm=reader.confirmation) as office,
        ):
            await scenario(office)

    asyncio.run(main())


def test_a_document_that_ends_its_worker_is_not_shown_and_the_confirmation_is_made(tmp_path: Path) -> None:
    text, of = confirmation_text(a_sent_fax(), LETTERHEAD), document(b"%PDF-1.4", tmp_path / "a")

    async def main() -> bytes:
        async with asyncio.timeout(PATIENCE), a_reader(tmp_path) as reader:
            loop = asyncio.get_running_loop()
            now, skipped = loop.time, 0.0
            loop.time = lambda: now() + skipped  # type: ignore[method-assign]  # the sender's rest is skipped
            (pid,) = (worker.pid for worker in reader._workers)
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)
            made = asyncio.create_task(reader.confirmation(text, of, "user dana"))
            await asyncio.sleep(0)
            os.kill(pid, signal.SIGKILL)
            await until(lambda: not reader._workers[0].jobs)
            skipped = 6.0
            return await made

    assert "Fax confirmation" in read(asyncio.run(main()))[0]


def test_a_notice_leaves_without_a_confirmation_that_cannot_be_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mailbridge.errors import StoreUnavailable

    async def broken(*_: object) -> bytes:
        raise StoreUnavailable("no worker process can be started")

    async def main() -> None:
        async with asyncio.timeout(PATIENCE), an_office(tmp_path, confirm=broken) as office:
            [fax] = await office.accept("03-9876543")
            await office.move(fax, "fail")
            [mail] = await office.mails()
            assert list(mail.message.iter_attachments()) == []
            assert "confirmation not made" in "".join(capsys.readouterr())

    asyncio.run(main())


@pytest.mark.parametrize(
    ("user", "client", "owner"), [("dana", "10.0.0.9", "user dana"), (None, "10.0.0.9", "10.0.0.9"), (None, None, "")]
)
def test_attack_5_a_confirmation_counts_for_whoever_sent_the_fax(user: str | None, client: str | None, owner: str) -> None:
    owners: list[str] = []

    async def confirm(text: object, document: object, of: str) -> bytes:
        owners.append(of)
        return b"%PDF"

    fax = a_fax(user=user, client=client)
    assert asyncio.run(confirmation_of_fax(fax, LETTERHEAD, confirm)) == b"%PDF"
    assert owners == [owner]
