"""The list of `incoming.do` beside the mailbox: what no mail reported is reported, and nothing is reported twice."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest

from mailbridge.assembly import Assembly
from mailbridge.config import load
from mailbridge.errors import NotTaken, StoreUnavailable, Undecided
from mailbridge.report import listing as listing_module
from mailbridge.report.document_download import Documents, NotFetched
from mailbridge.report.listing import TRIES
from mailbridge.report.listing_recorder import GRACE_ROUNDS, ListingRecorder
from mailbridge.runtime import Runtime
from tests.integration.listing_fixtures import EVERY, PDF, START, WAV, FakeMyFax, Office, office
from tests.time_limit import TimeLimit
from tests.wait_helpers import PATIENCE, until

MINUTE = timedelta(minutes=1)
# The first round after a start reads the list alone; the event comes a grace later.
PATIENT = GRACE_ROUNDS + 1
CALLER = "+97289999999"
FROM_LIST, FROM_MAIL = ("listing", CALLER), ("mail", CALLER)
Scenario = Callable[[Office], Awaitable[None]]


def play(path: Path, scenario: Scenario, **more: Any) -> None:
    async def main() -> None:
        async with office(path, **more) as setup:
            await scenario(setup)

    asyncio.run(main())


def test_a_fax_that_was_never_mailed_is_reported_once_with_its_document(tmp_path: Path) -> None:
    async def scenario(setup: Office) -> None:
        listing = setup.listing()
        await listing.compare()
        identity = setup.myfax.add(setup.now + MINUTE)
        await setup.rounds(listing, GRACE_ROUNDS)
        assert await setup.events() == []  # its mail may be on the way
        await setup.rounds(listing, 5)
        [event] = await setup.events()
        document = event.data["document"]
        assert event.data == {
            "fax_id": event.fax_id,
            "seq": 1,
            "direction": "inbound",
            "account": "office",
            "mailbox": None,
            "to": "+97239876543",
            "from": CALLER,
            "status": "received",
            "received_at": "2026-01-04T09:01:00.000Z",
            "pages": None,
            "source": "listing",
            "trusted": True,
            "listing_id": identity,
            "document": {
                "path": document["path"],
                "sha256": hashlib.sha256(PDF).hexdigest(),
                "size": len(PDF),
                "content_type": "application/pdf",
                "filename": "2026-01-04_11-01-00_+97289999999.pdf",
                "pages": None,
            },
            "documents": [document],
        }
        assert setup.spool.path(document["path"]).read_bytes() == PDF
        assert setup.files() == {document["path"]}
        assert await setup.store.run(lambda tx: tx.retention.known_files([document["path"]])) == {document["path"]}

    play(tmp_path, scenario)


def test_a_voicemail_is_reported_at_once_with_its_recording(tmp_path: Path) -> None:
    async def scenario(setup: Office) -> None:
        listing = setup.listing("voice")
        setup.myfax.add(START - MINUTE, kind="voice")
        await listing.compare()
        setup.myfax.add(setup.now + MINUTE, "050-1234567", kind="voice", document=WAV)
        await setup.rounds(listing, 3)
        [event] = await setup.events("voicemail.received")
        assert (event.data["from"], event.data["source"], event.data["received_at"]) == (
            *("+972501234567", "listing"),
            "2026-01-04T09:01:00.000Z",
        )
        document = event.data["document"]
        assert (document["content_type"], document["filename"]) == ("audio/wav", "2026-01-04_11-01-00_+972501234567.wav")
        assert setup.spool.path(document["path"]).read_bytes() == WAV
        assert await setup.events() == []

    play(tmp_path, scenario)


def test_at_the_very_first_start_nothing_old_is_reported(tmp_path: Path) -> None:
    async def scenario(setup: Office) -> None:
        for minutes in (1, 30, 300, 60 * 23):
            setup.myfax.add(START - minutes * MINUTE)
        setup.myfax.down = True  # the first start counts, not the first answer
        listing = setup.listing()
        with pytest.raises(NotTaken):
            await listing.compare()
        setup.myfax.add(START + MINUTE, "03-5555555")
        setup.myfax.down = False
        await setup.rounds(listing, PATIENT + 2)
        assert await setup.sources() == [("listing", "+97235555555")]

    play(tmp_path, scenario)


def test_a_fax_that_came_in_while_mailbridge_was_down_is_reported(tmp_path: Path) -> None:
    async def scenario(setup: Office) -> None:
        await setup.listing().compare()
        setup.myfax.add(START + timedelta(days=3))
        setup.now = START + timedelta(days=5)
        await setup.rounds(setup.listing(), PATIENT)
        assert await setup.sources() == [FROM_LIST]

    play(tmp_path, scenario)


def test_a_list_that_always_has_everything_repeats_nothing(tmp_path: Path) -> None:
    async def scenario(setup: Office) -> None:
        listing = setup.listing()
        await listing.compare()
        setup.myfax.add(START + MINUTE)
        await setup.rounds(listing, PATIENT)
        assert await setup.sources() == [FROM_LIST]
        setup.now = START + timedelta(days=33)
        setup.myfax.answers["/action/incoming.do"] = [setup.myfax.whole_list()] * (PATIENT + 1)
        await setup.store.run(lambda tx: tx.retention.delete_received_items(setup.now - timedelta(days=32), 10))
        await setup.rounds(listing, PATIENT + 1)
        assert await setup.sources() == [FROM_LIST]

    play(tmp_path, scenario)


@pytest.mark.parametrize(("printed", "hours"), [("08-9999999", 0), (CALLER, 1), ("97289999999", -1), ("089999999", 3)])
def test_a_mailed_fax_is_not_reported_by_the_list(tmp_path: Path, printed: str, hours: int) -> None:
    """Also where the list is in another zone than is set, as after a summer time that somebody forgot."""

    async def scenario(setup: Office) -> None:
        listing = setup.listing()
        await setup.rounds(listing)
        assert await setup.mail(setup.now + MINUTE)
        setup.myfax.add(setup.now + timedelta(hours=hours), printed, "03-9876543")
        await setup.rounds(listing, PATIENT + 2)
        assert await setup.sources() == [FROM_MAIL]
        assert setup.myfax.fetched() == []

    play(tmp_path, scenario)


def test_a_mail_within_the_grace_period_reports_the_fax_instead_of_the_list(tmp_path: Path) -> None:
    async def scenario(setup: Office) -> None:
        listing = setup.listing()
        await setup.rounds(listing)
        setup.myfax.add(setup.now)
        await setup.rounds(listing)
        assert await setup.mail(setup.now - EVERY + MINUTE, to=None)
        await setup.rounds(listing, PATIENT + 2)
        assert await setup.sources() == [FROM_MAIL]
        assert len(setup.files()) == 1

    play(tmp_path, scenario)


def test_a_mail_after_the_event_of_the_list_emits_nothing_and_leaves_no_file(tmp_path: Path) -> None:
    async def scenario(setup: Office) -> None:
        listing = setup.listing()
        await setup.rounds(listing)
        at = setup.now
        setup.myfax.add(at)
        await setup.rounds(listing, PATIENT)
        assert await setup.sources() == [FROM_LIST]
        setup.now += timedelta(hours=9)
        assert not await setup.mail(at + MINUTE, CALLER)
        assert await setup.sources() == [FROM_LIST]
        assert len(setup.files()) == 1
        # The next fax of the same caller is another one, whichever reports it first.
        assert await setup.mail(at + 30 * MINUTE, CALLER)
        setup.myfax.add(at + 30 * MINUTE)
        await setup.rounds(listing, PATIENT)
        assert await setup.sources() == [FROM_LIST, FROM_MAIL]

    play(tmp_path, scenario)


def test_two_faxes_of_one_caller_and_a_mail_for_one_of_them_make_two_events(tmp_path: Path) -> None:
    async def scenario(setup: Office) -> None:
        listing = setup.listing()
        await setup.rounds(listing)
        at = setup.now
        setup.myfax.add(at)
        setup.myfax.add(at + 3 * MINUTE)
        setup.now += 5 * MINUTE
        assert await setup.mail(at + 4 * MINUTE)
        await setup.rounds(listing, PATIENT + 2)
        received = [(event.data["source"], event.data["received_at"]) for event in await setup.events()]
        assert received == [("mail", "2026-01-04T09:14:00.000Z"), ("listing", "2026-01-04T09:10:00.000Z")]

    play(tmp_path, scenario)


def test_anonymous_faxes_are_each_reported_once(tmp_path: Path) -> None:
    async def scenario(setup: Office) -> None:
        listing = setup.listing()
        await setup.rounds(listing)
        for source in ("", "Anonymous", ""):
            setup.myfax.add(setup.now, source)
        assert await setup.mail(setup.now, "")
        await setup.rounds(listing, PATIENT + 2)
        assert sorted(source for source, caller in await setup.sources() if caller is None) == [
            "listing",
            "listing",
            "mail",
        ]

    play(tmp_path, scenario)


def test_each_fax_is_reported_once_across_restarts(tmp_path: Path) -> None:
    """A new process at each step, with the mail after the event, before it, or not at all."""
    myfax = FakeMyFax()

    async def scenario() -> None:
        await myfax.start()
        now = START
        async with office(tmp_path, myfax, now=now) as setup:
            await setup.listing().compare()
        for minutes in range(12):
            myfax.add(START + minutes * MINUTE, f"08-99999{minutes:02}")
        for step in range(8):
            now += EVERY
            async with office(tmp_path, myfax, now=now, uid=100 * step) as setup:
                listing = setup.listing()
                await listing.compare()
                if step == 0:
                    for minutes in (0, 1, 2):
                        assert await setup.mail(START + minutes * MINUTE, f"08-99999{minutes:02}")
                if step == 6:
                    for minutes in (9, 10, 11):
                        assert not await setup.mail(START + minutes * MINUTE, f"08-99999{minutes:02}")
                if step in (3, 5):
                    await listing.compare()
        async with office(tmp_path, myfax, now=now) as setup:
            reported = await setup.sources()
        assert sorted(str(caller) for _, caller in reported) == [f"+972899999{minutes:02}" for minutes in range(12)]
        assert sorted(source for source, _ in reported) == ["listing"] * 9 + ["mail"] * 3
        await myfax.stop()

    asyncio.run(scenario())


def test_after_a_start_the_mailbox_is_read_before_the_list_reports(tmp_path: Path) -> None:
    async def scenario(setup: Office) -> None:
        await setup.rounds(setup.listing())
        at = setup.now
        setup.myfax.add(at)
        await setup.rounds(setup.listing())
        setup.now += timedelta(days=1)
        again = setup.listing()
        await setup.rounds(again)
        assert await setup.events() == []
        assert await setup.mail(at)
        await setup.rounds(again, PATIENT)
        assert await setup.sources() == [FROM_MAIL]

    play(tmp_path, scenario)


def test_an_untrusted_mail_stands_for_a_listed_fax_only_with_its_document(tmp_path: Path) -> None:
    async def scenario(setup: Office) -> None:
        listing = setup.listing()
        await setup.rounds(listing)
        at = setup.now
        setup.myfax.add(at)
        setup.myfax.add(at, "03-5555555")
        assert await setup.mail(at, trusted=False, document=b"%PDF forged")
        assert await setup.mail(at, "03-5555555", trusted=False)
        await setup.rounds(listing, PATIENT + 1)
        reported = [(event.data["source"], event.data["from"], event.data["trusted"]) for event in await setup.events()]
        assert reported == [("mail", CALLER, False), ("mail", "+97235555555", False), ("listing", CALLER, True)]
        # The same, the other way round.
        assert not await setup.mail(at, trusted=False)
        assert await setup.mail(at, trusted=False, document=b"%PDF forged again")
        assert len(setup.files()) == 4

    play(tmp_path, scenario)


def test_a_forged_mail_does_not_hide_a_fax_that_waits_for_its_mail(tmp_path: Path) -> None:
    async def scenario(setup: Office) -> None:
        listing = setup.listing()
        await setup.rounds(listing)
        at = setup.now
        setup.myfax.add(at)
        await setup.rounds(listing)
        assert await setup.mail(at, trusted=False, document=b"%PDF forged")
        await setup.rounds(listing, PATIENT)
        assert await setup.sources() == [FROM_MAIL, FROM_LIST]
        assert await setup.mail(at, trusted=False, document=b"%PDF forged again")
        assert not await setup.mail(at)  # the true one, at last
        assert await setup.sources() == [FROM_MAIL, FROM_LIST, FROM_MAIL]

    play(tmp_path, scenario)


def test_a_mail_that_comes_while_the_document_is_downloaded_reports_the_fax(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(setup: Office) -> None:
        listing = setup.listing()
        await setup.rounds(listing)
        at = setup.now
        setup.myfax.add(at)
        fetch = Documents.fetch

        async def slow(self: Documents, *more: Any) -> None:
            await fetch(self, *more)
            assert await setup.mail(at)

        monkeypatch.setattr(Documents, "fetch", slow)
        await setup.rounds(listing, PATIENT + 2)
        assert await setup.sources() == [FROM_MAIL]
        assert len(setup.files()) == 1

    play(tmp_path, scenario)


def test_a_wrong_zone_repeats_nothing_and_hides_nothing_new(tmp_path: Path) -> None:
    """The server prints UTC where Israel's time is expected: what is new looks two hours old."""

    async def scenario(setup: Office) -> None:
        zone, listing = ZoneInfo("UTC"), setup.listing()
        setup.myfax.add(START - timedelta(hours=1), "03-1111111", zone=zone)
        await listing.compare()
        setup.myfax.add(setup.now + MINUTE, zone=zone)
        await setup.rounds(listing, PATIENT + 2)
        assert await setup.sources() == [FROM_LIST]

    play(tmp_path, scenario)


def test_an_item_with_an_unreadable_time_gets_the_time_when_it_was_first_seen(tmp_path: Path) -> None:
    async def scenario(setup: Office) -> None:
        listing = setup.listing()
        setup.myfax.add(START)
        setup.myfax.listed["incoming"][0]["TIME"] = "soon"
        setup.myfax.listed["incoming"][0]["SOURCE"] = "03-1111111"
        await listing.compare()
        setup.myfax.add(START)
        setup.myfax.listed["incoming"][0]["TIME"] = ""
        await setup.rounds(listing, PATIENT + 2)
        [event] = await setup.events()
        assert (event.data["from"], event.data["received_at"]) == (CALLER, "2026-01-04T09:10:00.000Z")

    play(tmp_path, scenario)


def test_a_time_beyond_all_dates_stops_no_round(tmp_path: Path) -> None:
    async def scenario(setup: Office) -> None:
        listing = setup.listing()
        await listing.compare()
        setup.myfax.add(START)
        setup.myfax.listed["incoming"][0]["TIME"] = "9999-12-31 23:59:59.0"
        setup.myfax.add(START + MINUTE, "03-1111111")
        await setup.rounds(listing, PATIENT)
        reported = {event.data["from"]: event.data["received_at"] for event in await setup.events()}
        assert reported == {CALLER: "2026-01-04T09:10:00.000Z", "+97231111111": "2026-01-04T09:01:00.000Z"}

    play(tmp_path, scenario)


MAILBOX = '[mailbox.office]\nhost = "127.0.0.1"\ntls = "none"\nusername = "o"\npassword = "p"\n'
ACCOUNTS = "".join(f'[account.{name}]\nemail = "{name}@example.co.il"\npassword = "p"\n' for name in ("office", "branch"))
VOICE, FAXES = {"office voice", "branch voice"}, {"office incoming", "branch incoming"}


@pytest.mark.parametrize(
    ("more", "listed"),
    [
        # Faxes of the other account may be mailed to this mailbox too, and would be reported twice.
        (MAILBOX, {"office incoming", *VOICE}),
        (f'{MAILBOX}account = "branch"\n', {"branch incoming", *VOICE}),
        ("", FAXES | VOICE),
        ('[incoming]\nevery = "off"\n', set()),
    ],
)
def test_the_voicemails_of_every_account_are_listed_and_the_faxes_of_those_with_a_mailbox(
    tmp_path: Path, more: str, listed: set[str]
) -> None:
    (tmp_path / "config.toml").write_text(ACCOUNTS + more)
    nothing = cast("Any", None)
    runtime = Runtime(nothing, nothing, nothing, nothing)
    assembly = Assembly(load(tmp_path / "config.toml", {}), runtime, dict.fromkeys(("office", "branch"), nothing))
    found = assembly.listings(nothing)
    assert {listing.name.removeprefix("listing ") for listing in found} == listed


def test_every_page_is_read(tmp_path: Path) -> None:
    async def scenario(setup: Office) -> None:
        listing = setup.listing()
        await setup.rounds(listing)
        for minutes in range(7):
            setup.myfax.add(setup.now + minutes * MINUTE, f"08-999999{minutes}")
        await setup.rounds(listing, PATIENT)
        assert len(await setup.events()) == 7

    play(tmp_path, scenario)


def test_a_failed_download_is_retried_and_finally_reported_without_a_document(tmp_path: Path) -> None:
    async def scenario(setup: Office) -> None:
        listing = setup.listing()
        await setup.rounds(listing)
        late, never = setup.myfax.add(setup.now), setup.myfax.add(setup.now, "03-5555555")
        setup.myfax.answers[f"/documents/{late}"] = [
            (500, {}, b""),
            (200, {}, b"<html>please log in</html>"),
            (404, {}, b""),
        ]
        del setup.myfax.documents[f"/documents/{never}"]
        await setup.rounds(listing, PATIENT + 2)
        assert await setup.events() == []
        await setup.rounds(listing)
        assert await setup.sources() == [FROM_LIST]
        await setup.rounds(listing, 5)
        [_, event] = await setup.events()
        assert (event.data["from"], event.data["document"]) == ("+97235555555", None)
        assert event.data["defects"] == ["MyFax answered with HTTP status 404 for the document"]
        assert setup.myfax.fetched().count(f"/documents/{never}") == TRIES
        assert len(setup.files()) == 1

    play(tmp_path, scenario)


ELSEWHERE = (
    "http://169.254.169.254/latest/meta-data",
    "https://evil.example/fax.pdf",
    "https://myfax.co.il.evil.example/fax.pdf",
    "https://notmyfax.co.il/fax.pdf",
    "http://www.myfax.co.il/fax.pdf",
    "https://user@www.myfax.co.il/fax.pdf",
    "file:///etc/passwd",
    "ftp://www.myfax.co.il/fax.pdf",
    "https://[::1",
)


def test_a_document_on_another_host_is_not_downloaded_and_the_fax_is_reported(tmp_path: Path) -> None:
    async def scenario(setup: Office) -> None:
        listing = setup.listing()
        await setup.rounds(listing)
        for url in ELSEWHERE:
            setup.myfax.add(setup.now, url=url)
        await setup.rounds(listing, PATIENT)
        events = await setup.events()
        assert len(events) == len(ELSEWHERE)
        assert all(event.data["document"] is None and "address" in event.data["defects"][0] for event in events)

    play(tmp_path, scenario)


@pytest.mark.parametrize("url", [*ELSEWHERE, "http://localhost/fax.pdf", "http://127.0.0.1/fax.pdf", "https://localhost/fax.pdf"])
def test_documents_of_the_real_service_come_from_no_other_host_nor_this_machine(url: str) -> None:
    async def main() -> None:
        async with Documents("https://www.myfax.co.il/action/") as documents:
            with pytest.raises(NotFetched, match="address"):
                await documents.fetch(url, io.BytesIO())

    asyncio.run(main())


def test_a_redirect_stays_at_myfax(tmp_path: Path) -> None:
    async def scenario(setup: Office) -> None:
        myfax = setup.myfax
        myfax.documents["/there"] = PDF
        myfax.answers["/here"] = [(302, {"Location": "/there"}, b"")]
        myfax.answers["/away"] = [(302, {"Location": "https://evil.example/fax.pdf"}, b"")]
        myfax.answers["/invalid"] = [(302, {"Location": "http://[fax"}, b"")]
        myfax.answers["/round"] = [(302, {"Location": "/round"}, b"")] * 9
        file = io.BytesIO()
        myfax.answers["/here"].append((302, {"Location": f"{myfax.base.replace('127.0.0.1', 'localhost')}/there"}, b""))
        await setup.documents.fetch(f"{myfax.base}/here", io.BytesIO())  # a server may call this machine by either name
        await setup.documents.fetch(f"{myfax.base}/here", file)
        assert file.getvalue() == PDF
        for path, words in (("/away", "not MyFax's"), ("/invalid", "invalid"), ("/round", "without an end")):
            with pytest.raises(NotFetched, match=words):
                await setup.documents.fetch(f"{myfax.base}{path}", io.BytesIO())

    play(tmp_path, scenario)


def test_an_endless_document_is_cut(tmp_path: Path) -> None:
    async def scenario(setup: Office) -> None:
        listing = setup.listing()
        await setup.rounds(listing)
        setup.myfax.add(setup.now, document=b"%PDF" + bytes(20_000))
        await setup.rounds(listing, PATIENT)
        [event] = await setup.events()
        assert "too large" in event.data["defects"][0]
        assert setup.files() == set()

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    ("head", "endless", "words"),
    [
        ("Content-Length: 100\r\n\r\n%PDF", False, "did not arrive completely within 4321 s"),
        ("Connection: close\r\n\r\n%PDF", True, "too large"),
    ],
)
def test_a_document_that_never_ends_fails_in_time(head: str, endless: bool, words: str, time_limit: TimeLimit) -> None:
    async def main() -> None:
        done = asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(f"HTTP/1.1 200 OK\r\n{head}".encode())
            with contextlib.suppress(ConnectionError):
                while endless and not done.is_set():
                    writer.write(bytes(1000))
                    await writer.drain()
                time_limit.end()
                await done.wait()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        file = io.BytesIO()
        async with Documents(base, timeout=time_limit.SECONDS, limit=50_000) as documents:
            with pytest.raises(NotFetched, match=words):
                await documents.fetch(f"{base}/fax", file)
        assert len(file.getvalue()) <= 50_000
        done.set()
        server.close()
        await server.wait_closed()

    asyncio.run(main())


def test_a_store_that_is_unavailable_leaves_the_fax_to_a_later_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(setup: Office) -> None:
        listing = setup.listing()
        await setup.rounds(listing)
        setup.myfax.add(setup.now)
        await setup.rounds(listing, GRACE_ROUNDS)
        emit = ListingRecorder.emit

        def refuse(*_: object) -> bool:
            raise StoreUnavailable("the database cannot take it now")

        monkeypatch.setattr(ListingRecorder, "emit", refuse)
        with pytest.raises(StoreUnavailable):
            await setup.rounds(listing)
        assert setup.files() == set()
        monkeypatch.setattr(ListingRecorder, "emit", emit)
        await setup.rounds(listing)
        assert await setup.sources() == [FROM_LIST]

    play(tmp_path, scenario)


@pytest.mark.parametrize("lost", ["answer", "caller"])
def test_an_event_whose_commit_is_not_answered_keeps_its_document(
    tmp_path: Path, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database commits, and the answer is lost with its server, or the daemon stops before it comes."""

    async def scenario(setup: Office) -> None:
        listing = setup.listing()
        await setup.rounds(listing)
        setup.myfax.add(setup.now)
        await setup.rounds(listing, GRACE_ROUNDS)
        run, real = setup.store.run, ListingRecorder.emit
        emitting = False

        def emit(*more: Any) -> bool:
            nonlocal emitting
            emitting = True
            return real(*more)

        async def unanswered(work: Any) -> Any:
            result = await run(work)
            if emitting:
                raise Undecided("the connection is lost") if lost == "answer" else asyncio.CancelledError
            return result

        monkeypatch.setattr(ListingRecorder, "emit", emit)
        monkeypatch.setattr(setup.store, "run", unanswered)
        with pytest.raises(Undecided if lost == "answer" else asyncio.CancelledError):
            await setup.rounds(listing)
        monkeypatch.undo()
        await setup.rounds(listing, 3)
        [event] = await setup.events()
        assert setup.files() == {event.data["document"]["path"]}

    play(tmp_path, scenario)


def test_a_mail_whose_commit_is_not_answered_keeps_its_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(setup: Office) -> None:
        run = setup.store.run

        async def unanswered(work: Any) -> Any:
            await run(work)
            raise Undecided("the connection is lost")

        monkeypatch.setattr(setup.store, "run", unanswered)
        with pytest.raises(Undecided):
            await setup.mail(setup.now)
        monkeypatch.undo()
        [event] = await setup.events()
        assert setup.files() == {event.data["document"]["path"]}

    play(tmp_path, scenario)


def test_a_list_that_another_node_has_taken_over_leaves_the_document_of_its_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node is paused while it downloads a document. Another one reports the fax, and then the first goes on."""

    async def scenario(setup: Office) -> None:
        paused, other = setup.listing(), setup.listing()
        for listing in (paused, other):
            await setup.rounds(listing)
        setup.myfax.add(setup.now)
        await setup.rounds(other, GRACE_ROUNDS)
        fetch, is_paused = Documents.fetch, False

        async def pausing(self: Documents, *more: Any) -> None:
            nonlocal is_paused
            await fetch(self, *more)
            if not is_paused:
                is_paused = True
                await setup.rounds(other)
                assert len(await setup.events()) == 1

        monkeypatch.setattr(Documents, "fetch", pausing)
        await setup.rounds(paused)
        assert is_paused
        [event] = await setup.events()
        assert setup.files() == {event.data["document"]["path"]}

    play(tmp_path, scenario)


def test_while_myfax_is_down_the_rounds_come_less_often_and_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    enough = asyncio.Event()

    really = asyncio.sleep

    async def sleep(seconds: float) -> None:
        if seconds < EVERY.total_seconds() / 2:  # the test's server
            await really(seconds)
            return
        slept.append(seconds)
        if len(slept) == 12:
            enough.set()
            await asyncio.Event().wait()

    async def scenario(setup: Office) -> None:
        setup.myfax.down = True
        listing = setup.listing()
        # For the listing alone: the test's server sleeps in the same loop.
        monkeypatch.setattr(listing_module, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": sleep}))
        task = asyncio.create_task(listing.run())
        await asyncio.wait_for(enough.wait(), PATIENCE)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        monkeypatch.undo()
        assert slept[:3] == [480.0, 960.0, 1920.0]
        assert slept[-1] == 2880.0
        setup.myfax.down = False
        task = asyncio.create_task(listing.run())
        await until(lambda: bool(setup.myfax.asked))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    play(tmp_path, scenario)


def test_the_hour_that_occurs_twice_in_autumn_repeats_nothing(tmp_path: Path) -> None:
    """In the night of 25 October 2026 the hour from 1:00 to 2:00 comes twice in Israel."""
    second = datetime(2026, 10, 24, 23, 30, tzinfo=UTC)  # 01:30, the second time

    async def scenario(setup: Office) -> None:
        listing = setup.listing()
        await setup.rounds(listing)
        setup.now = second + MINUTE
        assert await setup.mail(second)
        setup.myfax.add(second)
        assert "01:30" in setup.myfax.listed["incoming"][0]["TIME"]
        await setup.rounds(listing, PATIENT + 2)
        assert await setup.sources() == [FROM_MAIL]

    play(tmp_path, scenario, now=second - timedelta(days=2))
