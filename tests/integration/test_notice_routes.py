"""Received faxes to people and folders: rows N7, N23 and N24 of notices."""

from __future__ import annotations

import asyncio
import errno
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mailbridge.config import Route
from mailbridge.model import Event, new_id
from mailbridge.notice import folder as folder_module
from mailbridge.notice.route_match import matches
from mailbridge.store.spool_paths import IN_MEMORY
from mailbridge.submission.letter.letter import Letter
from mailbridge.submission.letter.parser import read_letter
from tests.integration.notice_fixtures import Office, a_recipient, in_office, texts
from tests.integration.relay_stand_in import RelayStandIn
from tests.integration.smtp_fixtures import Gateway, gateway

FAX = b"%PDF-1.4 a received fax"
AT = datetime(2026, 1, 4, 9, 12, 44, tzinfo=UTC)


async def receive(
    office: Office, type_: str = "fax.received", names: tuple[str, ...] = ("fax.pdf",), content: bytes = FAX, **changes: Any
) -> Event:
    """Let a fax arrive, as the recorders of the reports do."""
    fax_id = new_id("fax")
    documents = []
    for n, name in enumerate(names):
        path = office.spool.store_received(f"{fax_id}.{n}", [content])
        facts = {"sha256": "ab", "size": len(content), "content_type": "application/pdf", "filename": name, "pages": 1}
        documents.append({"path": path, **facts})
    data = {
        "fax_id": fax_id,
        "seq": 1,
        "direction": "inbound",
        "account": "office",
        "mailbox": "office",
        "to": "+97239876543",
        "from": "+97231112222",
        "status": "received",
        "received_at": "2026-01-04T09:12:44Z",
        "trusted": True,
        "document": documents[0] if documents else None,
        "documents": documents,
        **changes,
    }
    return await office.emit(type_, data, fax_id)


def route(**keys: Any) -> Route:
    return Route.model_validate({"mail": "dana@example.co.il", **keys})


MATCHES = [
    ({}, {}, True),
    ({"to": "03-9876543"}, {}, True),
    ({"to": "+972 3 987"}, {}, True),
    ({"to": ["04", "03"]}, {}, True),
    ({"to": "04"}, {}, False),
    ({"to": "03"}, {"to": None}, False),
    ({"from": "+9723"}, {}, True),
    ({"from": "00972"}, {}, True),
    ({"from": "+44"}, {}, False),
    ({"from": "+9723"}, {"from": None}, False),
    ({"account": "office"}, {}, True),
    ({"account": ["a", "b"]}, {}, False),
    ({"kind": "fax"}, {}, True),
    ({"kind": "voicemail"}, {}, False),
    ({}, {"trusted": False}, False),
    ({"untrusted": True}, {"trusted": False}, True),
]


@pytest.mark.parametrize(("keys", "data", "expected"), MATCHES)
def test_which_routes_are_followed(keys: dict[str, Any], data: dict[str, Any], expected: bool) -> None:
    fax = {"to": "+97239876543", "from": "+97231112222", "account": "office", "trusted": True, **data}
    assert matches(route(**keys), "fax.received", fax, "972") is expected


def test_N23_a_fax_reaches_people_and_folders_exactly_once(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    more = f"""
[route.sales]
to = "03-9876543"
mail = ["dana@example.co.il", "yossi@example.co.il"]
folder = "{archive}"
[route.all]
mail = ["DANA@example.co.il"]
folder = "{archive}"
[route.voice]
kind = "voicemail"
mail = "voice@example.co.il"
"""

    async def scenario(office: Office) -> None:
        event = await receive(office, names=("fax.pdf", "עמוד שני.TIF"))
        mails = await office.mails()
        assert sorted(mail.rcpt_to.split(" ")[0] for mail in mails) == ["<dana@example.co.il>", "<yossi@example.co.il>"]
        for mail in mails:
            files = list(mail.message.iter_attachments())
            assert [part.get_filename() for part in files] == ["fax.pdf", "עמוד שני.TIF"]
            assert [part.get_content() for part in files] == [FAX, FAX]
            assert mail.message["Reply-To"] == "+97231112222@fax.local"
            assert mail.message["Auto-Submitted"] == "auto-generated"
            assert ("yossi" in str(mail.message)) == ("yossi" in mail.rcpt_to), "nobody sees who else got it"
            assert str(office.config.state_dir) not in mail.content.decode()
        assert texts(mails[:1])[0].startswith("התקבל פקס מאת \u206603-1112222\u2069.")
        await office.settled()
        stem = f"2026-01-04_111244_+97231112222_{event.fax_id}"
        assert {path.name: path.read_bytes() for path in archive.iterdir()} == {f"{stem}.pdf": FAX, f"{stem}_2.tif": FAX}

    in_office(tmp_path, scenario, more=more)


def test_N23_an_untrusted_fax_only_follows_a_route_that_takes_it(tmp_path: Path) -> None:
    more = '[route.a]\nmail = "a@example.co.il"\n[route.b]\nmail = "b@example.co.il"\nuntrusted = true\n'

    async def scenario(office: Office) -> None:
        await receive(office, trusted=False)
        [mail] = await office.mails()
        assert mail.rcpt_to.startswith("<b@")
        assert "זהירות" in texts([mail])[0]

    in_office(tmp_path, scenario, more=more)


@pytest.mark.parametrize("offers", [("8BITMIME", "SIZE 6000"), ("8BITMIME",)])
def test_N23_a_document_too_large_for_the_relay_is_announced_without_it(tmp_path: Path, offers: tuple[str, ...]) -> None:
    """A relay that offers SIZE refuses such a mail at MAIL, any other at the end of its data."""
    relay = RelayStandIn(offers=offers, limit=6000)

    async def scenario(office: Office) -> None:
        await receive(office, content=FAX + b"x" * 6000)
        await receive(office)
        mails = await office.mails()
        found = {(len(list(mail.message.iter_attachments())), "הקובץ גדול מדי" in texts([mail])[0]) for mail in mails}
        assert found == {(0, True), (1, False)}
        assert {one.state for one in await office.deliveries()} == {"delivered"}

    in_office(tmp_path, scenario, more='[route.a]\nmail = "a@example.co.il"\n', relay=relay)


def test_a_mail_without_files_that_is_too_large_for_the_relay_is_sent_once(tmp_path: Path) -> None:
    """552 also means a full mailbox. A second mail would say that a file is missing which there never was."""
    mails = 0

    async def count(verb: str) -> None:
        nonlocal mails
        mails += verb == "."

    async def scenario(office: Office) -> None:
        [fax] = await office.accept("03-9876543")
        await office.move(fax, "fail")
        await office.settled()
        assert {one.state for one in await office.deliveries()} == {"dead"}
        assert mails == 1

    relay = RelayStandIn(refuse={".": "552 5.2.2 Mailbox full"}, before=count)
    in_office(tmp_path, scenario, relay=relay)


@pytest.mark.parametrize("caller", ["<evil7@attacker.example>", "evil7@attacker.example <", "Anonymous 7", "7 <a@b>", None])
def test_a_caller_who_is_no_number_gets_no_answer(tmp_path: Path, caller: str | None) -> None:
    """X-Fax-Sender of a forged mail must not choose the address that an answer, with a document, goes to."""

    async def scenario(office: Office) -> None:
        named: dict[str, Any] = {"from": caller}
        await receive(office, trusted=False, **named)
        [mail] = await office.mails()
        assert "Reply-To" not in mail.message
        assert "תשובה" not in texts([mail])[0]

    in_office(tmp_path, scenario, more='[route.a]\nmail = "a@example.co.il"\nuntrusted = true\n')


def test_N23_a_full_folder_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)

    async def scenario(office: Office) -> None:
        event = await receive(office)
        await office.settled()
        [one] = await office.deliveries("folder")
        assert (one.state, one.error) == ("pending", "the file cannot be stored: No space left on device")
        assert list(archive.iterdir()) == []
        monkeypatch.undo()
        office.leap(timedelta(minutes=2))
        await office.settled()
        assert [one.state for one in await office.deliveries("folder")] == ["delivered"]
        [path] = archive.iterdir()
        assert (path.name.endswith(f"{event.fax_id}.pdf"), path.read_bytes()) == (True, FAX)

    in_office(tmp_path, scenario, more=f'[route.a]\nfolder = "{archive}"\n')


def test_N23_a_file_is_whole_synced_and_not_written_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    synced: list[Path] = []
    monkeypatch.setattr(folder_module, "sync_directory", synced.append)

    async def scenario(office: Office) -> None:
        await receive(office)
        await office.settled()
        [path] = archive.iterdir()
        first = path.stat().st_mtime_ns
        assert synced == [archive]
        [one] = await office.deliveries("folder")
        # As after a crash between the rename and the commit.
        await office.stop()
        import sqlite3

        with sqlite3.connect(office.config.state_dir / "mailbridge.sqlite3") as database:
            database.execute("UPDATE delivery SET state = 'pending', settled_at = NULL WHERE id = ?", (one.id,))
        office.start()
        office.leap(timedelta(seconds=1))
        await office.settled()
        [again] = archive.iterdir()
        assert again.stat().st_mtime_ns == first

    in_office(tmp_path, scenario, more=f'[route.a]\nfolder = "{archive}"\n')


def test_a_fault_while_a_document_is_stored_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()

    def fail(*_: object) -> None:
        raise ValueError("a fault")

    monkeypatch.setattr(folder_module, "store_documents", fail)

    async def scenario(office: Office) -> None:
        await receive(office)
        await office.settled()
        [one] = await office.deliveries("folder")
        assert (one.state, one.error) == ("pending", "the file cannot be stored (ValueError)")
        monkeypatch.undo()
        office.leap(timedelta(minutes=2))
        await office.settled()
        assert len(list(archive.iterdir())) == 1

    in_office(tmp_path, scenario, more=f'[route.a]\nfolder = "{archive}"\n')


def test_N24_an_answer_to_a_received_fax_is_a_fax_to_the_caller(tmp_path: Path) -> None:
    answers: list[str] = []

    async def scenario(office: Office) -> None:
        await receive(office)
        [mail] = await office.mails()
        answers.append(str(mail.message["Reply-To"]))

    in_office(tmp_path, scenario, more='[route.a]\nmail = "a@example.co.il"\n')
    with gateway(tmp_path / "gateway") as running:
        code, _ = running.send(to=answers[0])
        assert code == 250
        assert [fax.number for fax in running.faxes()] == ["+97231112222"]


@pytest.mark.parametrize("sender", ["", "back@example.co.il"])
def test_N7_a_notice_that_comes_back_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sender: str) -> None:
    """100 rounds: a sender whose address is a number of this gateway, so that the relay brings every notice here."""
    contents: list[bytes] = []

    async def scenario(office: Office) -> None:
        for _ in range(10):
            for notify in (None, "FAILURE"):
                [fax] = await office.accept(a_recipient("03-9876543", notify=notify), sender="03-9876543@fax.local")
                await office.move(fax, "fail")
                await office.settled()
        contents.extend(mail.content for mail in office.relay.taken)

    in_office(tmp_path, scenario, "per_hour = 1000")
    assert len(contents) == 20

    async def read(self: Gateway, mail: str | bytes, line_ends_changed: bool, page_mode: str) -> Letter:
        assert isinstance(mail, bytes)
        return await asyncio.to_thread(read_letter, mail, IN_MEMORY, page_mode)

    monkeypatch.setattr(Gateway, "_read_letter", read)
    with gateway(tmp_path / "gateway") as running:
        for round_ in range(100):
            with running.client() as client:
                client.mail(sender)
                code, _ = client.rcpt("03-9876543@fax.local")
                if code == 250:
                    code, text = client.data(contents[round_ % 20])
                    assert text.startswith(b"5.4.6 Mail loop")
                assert code in (550, 554)
        assert running.faxes() == []
