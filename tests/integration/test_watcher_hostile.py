"""The watcher against servers that break the protocol, and mails that are made to break the reader."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from mailbridge.demo.mailbox import DemoMailbox, incoming_mail, report_mail
from mailbridge.errors import MailboxError, StoreUnavailable
from mailbridge.model import Cursor
from mailbridge.report import imap_connection
from mailbridge.report.imap_protocol import ImapProtocol
from mailbridge.report.imap_responses import FetchedMail
from mailbridge.report.mailbox_status import MailboxStatus
from mailbridge.report.parser import ParsedMail, parse
from mailbridge.report.received_fax_recorder import ReceivedFaxRecorder
from mailbridge.report.report_recorder import ReportRecorder
from mailbridge.store.local_spool import LocalSpool
from tests.integration.imap_script import PASSWORD, Script, fetched, scripted
from tests.integration.watcher_fixtures import a_store, events, settings, watching
from tests.unit.report.hostile_mails import HOSTILE_MAILS
from tests.wait_helpers import PATIENCE, until

REPORT = report_mail("Success", 9, "from the script").replace(b"\n", b"\r\n")
# What a server may be let send before it is cut off: the buffers of the sockets come on top of our own caps.
ENOUGH = 48 * 1024 * 1024


def without_end(piece: bytes, first: bytes = b"", pause: float | None = None) -> Callable[[Script], Awaitable[None]]:
    """Send `piece` for ever, whatever the client says."""

    async def send(session: Script) -> None:
        await session.send(first)
        while True:
            await session.send(piece if pause is not None else piece * (65536 // len(piece) + 1))
            await asyncio.sleep(pause or 0)

    return send


async def silence(session: Script) -> None:
    await asyncio.Event().wait()


async def hang_up(session: Script) -> None:
    await session.send(b"* 1 FETCH (UID 1 RFC822.SIZE 900 BODY[] {900}\r\nhalf of")
    session.writer.close()


async def goodbye(session: Script) -> None:
    await session.send(b"+ idling\r\n* BYE too busy\r\n")


@pytest.fixture(autouse=True)
def failures(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The counts by which each reconnection was put off."""
    counts: list[int] = []

    def delay(failures: int, jitter: float) -> float:
        counts.append(failures)
        return 0.01

    monkeypatch.setattr("mailbridge.report.watcher.reconnect_delay", delay)
    monkeypatch.setattr("mailbridge.report.watcher.login_delay", lambda refusals: delay(refusals, 0.0))
    return counts


ONE = b"* SEARCH 1\r\nTAG OK\r\n"
ATTACKS: dict[str, tuple[dict[str, Any], str]] = {
    "a literal of 2 GB": (
        {"SEARCH": ONE, "FETCH": without_end(b"x" * 65536, b"* 1 FETCH (UID 1 RFC822.SIZE 9 BODY[] {2147483648}\r\n")},
        "announced a literal of 2147483648 bytes",
    ),
    "a literal beyond numbers": (
        {"SEARCH": ONE, "FETCH": b"* 1 FETCH (UID 1 BODY[] {" + b"9" * 5000 + b"}\r\n"},
        "announced a literal of 99999",
    ),
    "a line of 60 MB": ({"SEARCH": without_end(b"1 " * 1000, b"* SEARCH ")}, "a line of the answer has no end"),
    "pieces without end": ({"SEARCH": ONE, "FETCH": without_end(b"{0}\r\n", b"* 1 FETCH (")}, "a line of the answer has no end"),
    "tiny mails without end": (
        {"SEARCH": ONE, "FETCH": without_end(b"* 1 FETCH (UID 1 BODY[] {0}\r\n)\r\n")},
        "the answer has no end",
    ),
    "tiny lines without end": ({"SEARCH": without_end(b"* SEARCH 1\r\n")}, "the answer has no end"),
    "lines nobody asked for, without end": (
        {"SEARCH": without_end(b"* OK still here\r\n")},
        "the answer has no end",
    ),
    "silence instead of a greeting": ({"": silence}, "does not answer within 0.1 s"),
    "silence at CAPABILITY": ({"CAPABILITY": silence}, "does not answer CAPABILITY"),
    "silence at SELECT": ({"SELECT": silence}, "does not answer SELECT"),
    "silence at IDLE": ({"IDLE": silence}, "does not begin to idle"),
    "silence in IDLE": ({"IDLE": without_end(b"", b"+ idling\r\n", 1)}, "does not answer any more"),
    "silence at NOOP": ({"NOOP": silence}, "does not answer NOOP"),
    "a drip without end": (
        {"SEARCH": ONE, "FETCH": without_end(b"x", b"* 1 FETCH (UID 1 BODY[] {9000}\r\n", 0.01)},
        "does not answer FETCH",
    ),
    "BYE as a greeting": ({"": b"* BYE closed\r\n"}, "greets with '* BYE closed'"),
    "BYE in IDLE": ({"IDLE": goodbye}, "said goodbye (too busy)"),
    "BYE at SELECT": ({"SELECT": b"* BYE\r\n"}, "said goodbye"),
    "a hang-up in a literal": ({"SEARCH": ONE, "FETCH": hang_up}, "closed the connection"),
    "a web server": ({"": b"HTTP/1.1 400 Bad Request\r\n\r\n"}, "greets with 'HTTP/1.1 400 Bad Request'"),
    "garbage": ({"SEARCH": b"\x00\xff\xfe\x80 garbage\r\n"}, "what is not IMAP"),
    "garbage in IDLE": ({"IDLE": b"+ idling\r\n\x16\x03\x01\r\n"}, "what is not IMAP"),
    "EXISTS without end": ({"IDLE": without_end(b"* 5 EXISTS\r\n", b"+ idling\r\n")}, "the answer has no end|does not answer"),
    "a wrong tag for LOGIN": ({"LOGIN": b"XYZ1 OK\r\n"}, "answered a command that was not given"),
    "a wrong tag for SEARCH": ({"SEARCH": b"XYZ1 OK\r\n"}, "answered a command that was not given"),
    "a tag twice": ({"SEARCH": b"* SEARCH\r\nTAG OK\r\nTAG OK\r\n"}, "answered a command that was not given"),
    "CAPABILITY refused": ({"CAPABILITY": b"TAG BAD what\r\n"}, "refuses CAPABILITY: what"),
    "the password echoed": ({"LOGIN": b"TAG NO LOGIN office " + PASSWORD.encode() + b"\r\n"}, "refuses LOGIN: LOGIN office ***"),
    "no password wanted": ({"CAPABILITY": b"* CAPABILITY LOGINDISABLED\r\nTAG OK\r\n"}, "refuses passwords on this connection"),
    "no UIDVALIDITY": ({"SELECT": b"TAG OK\r\n"}, "gives folder INBOX no UIDVALIDITY"),
    "already logged in": ({"": b"* PREAUTH welcome\r\n"}, "greets with"),
}


@pytest.fixture
def errors(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The errors that ended each connection."""
    found: list[str] = []
    down = MailboxStatus.down

    async def note(self: MailboxStatus, error: Exception, failures: int) -> None:
        found.append(str(error))
        await down(self, error, failures)

    monkeypatch.setattr(MailboxStatus, "down", note)
    return found


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_hostile_server_loses_its_connection_and_the_watch_recovers(
    tmp_path: Path, attack: str, failures: list[int], errors: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, words = ATTACKS[attack]
    if "drip" in attack:
        monkeypatch.setattr(imap_connection, "LONGEST_COMMAND", 0.3)
    # Only silence ends a connection in time. A machine that is busy for a moment can look like a silent server: so one of three
    # connections has to end for the right reason.
    timeout = 0.1 if "does not" in words else PATIENCE

    async def scenario() -> None:
        async with scripted(answers, 3) as (box, front), a_store(tmp_path) as store:
            mailbox = settings(front.port, password=SecretStr(PASSWORD))
            async with watching(mailbox, store, tmp_path, wait=False, timeout=timeout, idle=0.1) as watcher:
                [down, *_] = await events(store, 1, "mailbox.down")
                assert down.data["error"] == errors[0]
                await until(lambda: len(front.scripts) == 3 and len(failures) >= 3)
                assert any(choice in error for choice in words.split("|") for error in errors[:3]), errors
                assert not any(PASSWORD in error or len(error) >= 500 for error in errors)
                # Each time it waits longer, also where the connection seemed good for a moment.
                assert failures[:3] == [1, 2, 3]
                assert not watcher.connected
                watcher._options = replace(watcher._options, timeout=PATIENCE)
                front.released.set()
                await until(lambda: watcher.connected)
                await box.deliver(report_mail("Success", 9, "after the storm"))
                [event] = await events(store, 1, "report.received")
                assert event.data["report"]["subject"] == "after the storm"
                ups, downs = await events(store, 1, "mailbox.up"), await events(store, 1, "mailbox.down")
                assert len(ups) == len(downs)
            assert all(script.sent < ENOUGH for script in front.scripts)

    asyncio.run(scenario())


@pytest.mark.parametrize("command", ["noop", "search", "idle"])
def test_a_connection_lost_just_before_a_command_is_sent_fails_it_at_once(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    protocols: list[ImapProtocol] = []

    def wire(*args: Any) -> ImapProtocol:
        protocols.append(ImapProtocol(*args))
        return protocols[0]

    monkeypatch.setattr(imap_connection, "ImapProtocol", wire)

    async def scenario() -> None:
        async with scripted({}) as (_, front):
            connection = await imap_connection.Connection.open("127.0.0.1", front.port, "none", timeout=30.0)
            await connection.login("office", PASSWORD)
            await connection.select("INBOX")
            ways: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
                "noop": connection.noop,
                "search": lambda: connection.search("ALL"),
                "idle": lambda: connection.wait_for_exists(30.0),
            }
            begun = asyncio.create_task(ways[command]())
            await asyncio.sleep(0)  # it has found the connection whole, and sent nothing yet
            protocols[0].connection_lost(None)
            with pytest.raises(MailboxError, match="closed"):
                await asyncio.wait_for(begun, 1.0)

    asyncio.run(scenario())


@pytest.mark.parametrize("fault", [{"": b"* BYE not yet\r\n"}, {"SEARCH": goodbye}], ids=["greeting", "old mails"])
def test_a_mail_that_arrives_while_the_first_connection_fails_is_not_old(tmp_path: Path, fault: dict[str, Any]) -> None:
    long_ago = datetime.now(UTC) - timedelta(hours=1)

    async def scenario() -> None:
        async with scripted(fault, times=1) as (mailbox, front), a_store(tmp_path) as store:
            await mailbox.deliver(report_mail("Success", 9, "old", date=long_ago))
            async with watching(settings(front.port, password=SecretStr(PASSWORD)), store, tmp_path, wait=False):
                await events(store, 1, "mailbox.down")
                await mailbox.deliver(report_mail("Success", 9, "new"))
                await mailbox.deliver(report_mail("Success", 9, "late but old", date=long_ago))
                front.released.set()
                await events(store, 1, "mailbox.up")
                await mailbox.deliver(report_mail("Success", 9, "newest"))
                found = await events(store, 2, "report.received")
        assert [event.data["report"]["subject"] for event in found] == ["new", "newest"]

    asyncio.run(scenario())


def test_unusual_answers_are_read_and_unrequested_ones_dropped(tmp_path: Path) -> None:
    """A literal in odd places, FETCH of mails that were not asked for, numbers that are none."""
    other = REPORT.replace(b"from the script", b"nobody asked")

    async def scenario() -> None:
        answers = {
            "": b"* OK hello {3}\r\nabc\r\n",
            "SELECT": b"* FLAGS {5}\r\n\\Seen more\r\n* 1 EXISTS\r\n"
            b"* OK [UIDVALIDITY 77]\r\n* ok [UIDNEXT 1] fine\r\nTAG OK {2}\r\nhi\r\n",
            "SEARCH": search,
            "FETCH": fetched(4_000_000_000, other)
            + b"* 1 FETCH (FLAGS (\\Seen))\r\n* 2 FETCH (UID 99999999999999999999 BODY[] {1}\r\nx)\r\n"
            + b"* FETCH\r\n* 9 EXPUNGE\r\n\r\n"
            + fetched(1, REPORT)
            + b"* 3 FETCH (UID 2 RFC822.SIZE 0 BODY[] NIL)\r\n"
            + fetched(1, REPORT)
            + b"TAG OK\r\n",
            "IDLE": b"+ idling\r\n" + fetched(5, other) + b"* SEARCH 6 7\r\n* OK [ALERT] {4}\r\ntext\r\n",
        }
        async with scripted(answers) as (_, front), a_store(tmp_path) as store:
            async with watching(settings(front.port), store, tmp_path, idle=0.02):
                first = front.scripts[0]
                seen = first.tag
                await until(lambda: first.tag != seen)
                found = await events(store, 1)
            assert [event.data["report"]["subject"] for event in found] == ["from the script"]
            assert await store.run(lambda tx: tx.mailboxes.cursor("office", "INBOX")) == Cursor(uidvalidity=77, last_uid=1)
            assert len(front.scripts) == 1

    searches: list[int] = []

    async def search(session: Script) -> None:
        searches.append(1)
        # The first is for old fax mails; the second finds one mail.
        await session.send(b"* SEARCH 1 {1}\r\n2 x\r\nTAG OK\r\n" if len(searches) == 2 else b"* SEARCH\r\nTAG OK\r\n")

    asyncio.run(scenario())


def test_imap_keywords_have_no_case(tmp_path: Path) -> None:
    """Status words, response codes and items have no case in IMAP (RFC 3501 section 9)."""

    async def scenario() -> None:
        answers = {
            command: re.sub(rb"\b[A-Z0-9]{2,}", lambda word: word[0] if word[0] == b"TAG" else word[0].lower(), answer)
            for command, answer in {**Script.usual, "SEARCH": ONE, "FETCH": b"TAG OK\r\n"}.items()
        }
        head, brace, rest = fetched(1, REPORT).partition(b"{")
        answers["FETCH"] = head.lower() + brace + rest + b"TAG ok\r\n"
        async with scripted(answers) as (_, front), a_store(tmp_path) as store:
            async with watching(settings(front.port), store, tmp_path, catch_up=True):
                found = await events(store, 1)
            assert [event.type for event in found] == ["report.received"]
            assert len(front.scripts) == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("size", [b"RFC822.SIZE 65000 ", b""], ids=["too small", "not at all"])
def test_a_mail_with_a_wrong_size_is_fetched_whole(tmp_path: Path, size: bytes) -> None:
    """Exchange estimates RFC822.SIZE; a document that was cut at what the first FETCH asks for must not pass for whole."""
    mail = incoming_mail(b"%PDF-1.4 " + b"a page " * 20_000, "08-9999999").replace(b"\n", b"\r\n")

    async def fetch(session: Script) -> None:
        piece = mail[:65536] if b"<0.65536>" in session.command else mail
        await session.send(b"* 1 FETCH (UID 1 %sBODY[] {%d}\r\n%s)\r\nTAG OK\r\n" % (size, len(piece), piece))

    async def scenario() -> None:
        async with (
            scripted({"SEARCH": ONE, "FETCH": fetch}) as (_, front),
            a_store(tmp_path) as store,
            watching(settings(front.port), store, tmp_path, catch_up=True),
        ):
            [event] = await events(store, 1)
        assert event.data["document"]["size"] == 9 + 7 * 20_000

    asyncio.run(scenario())


@pytest.mark.parametrize(("after", "command"), [("seen", "STORE"), ("move:Done", "MOVE")])
def test_a_mail_whose_connection_is_lost_before_it_is_marked_is_marked_later(tmp_path: Path, after: str, command: str) -> None:
    tries: list[Script] = []

    async def lost_once(session: Script) -> None:
        tries.append(session)
        if len(tries) == 1:
            session.writer.close()
        else:
            await session.send(b"TAG OK\r\n")

    async def scenario() -> None:
        select = Script.usual["SELECT"].replace(b"UIDNEXT 1", b"UIDNEXT 2")
        answers = {"SELECT": select, "SEARCH": ONE, "FETCH": fetched(1, REPORT) + b"TAG OK\r\n", command: lost_once}
        async with scripted(answers) as (_, front), a_store(tmp_path) as store:
            async with watching(settings(front.port, after=after), store, tmp_path, catch_up=True):
                await until(lambda: len(front.scripts) == 2 and "IDLE" in front.scripts[1].commands)
            assert tries == front.scripts
            assert len(await events(store, 1, "report.received")) == 1

    asyncio.run(scenario())


def test_a_mail_that_the_server_refuses_delays_only_itself(tmp_path: Path, failures: list[int]) -> None:
    answers = [fetched(uid, REPORT.replace(b"from the script", b"mail %d" % uid)) for uid in range(1, 13)]

    async def fetch(session: Script) -> None:
        uids = [int(uid) for uid in re.findall(rb"\d+", session.command.split()[2])]
        wanted = range(uids[0], uids[-1] + 1)
        if 6 in wanted:
            await session.send(b"TAG NO it could not be converted to an RFC-822 compatible format\r\n")
        else:
            await session.send(b"".join(answer for uid, answer in enumerate(answers, 1) if uid in wanted) + b"TAG OK\r\n")

    async def search(session: Script) -> None:
        above = int(session.command.split()[-1].partition(b":")[0]) if b":" in session.command else 1
        await session.send(b"* SEARCH" + b"".join(b" %d" % uid for uid in range(above, 13)) + b"\r\nTAG OK\r\n")

    async def scenario() -> None:
        select = Script.usual["SELECT"].replace(b"UIDNEXT 1", b"UIDNEXT 13")
        async with (
            scripted({"SELECT": select, "SEARCH": search, "FETCH": fetch}) as (_, front),
            a_store(tmp_path) as store,
            watching(settings(front.port), store, tmp_path, catch_up=True),
        ):
            found = await events(store, 12, "report.received")
        subjects = [event.data["report"]["subject"] or event.data["defects"][0].partition(";")[0] for event in found]
        refused = "the mail server cannot return this mail"
        assert subjects == [refused if uid == 6 else f"mail {uid}" for uid in range(1, 13)]
        assert failures == [1, 2, 3, 4, 5]

    asyncio.run(scenario())


@pytest.mark.parametrize("idle", [b"TAG NO not here\r\n", b"TAG BAD\r\n", b"+ idling\r\nTAG OK enough\r\n"])
def test_a_server_that_will_not_idle_is_polled_over_one_connection(
    tmp_path: Path, idle: bytes, monkeypatch: pytest.MonkeyPatch, failures: list[int]
) -> None:
    """At which pace, `test_imap_connection` shows."""
    monkeypatch.setattr(imap_connection, "POLL_SECONDS", 0.05)

    async def scenario() -> None:
        noops = count(1)

        async def noop(session: Script) -> None:
            if next(noops) == 3:
                session.answers["FETCH"] = fetched(1, REPORT) + b"TAG OK\r\n"
                await session.send(b"* 1 EXISTS\r\n")
            await session.send(b"TAG OK\r\n")

        async with scripted({"IDLE": idle, "NOOP": noop}) as (_, front), a_store(tmp_path) as store:
            async with watching(settings(front.port), store, tmp_path) as watcher:
                await events(store, 1, "report.received")
                assert watcher.connected
            assert failures == []
            # Each look is an IDLE that fails and a NOOP; the EXISTS with the third NOOP is fetched at once.
            [session] = front.scripts
            looks = session.commands[session.commands.index("IDLE") :]
            assert looks[:7] == ["IDLE", "NOOP"] * 3 + ["FETCH"]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"TAG OK begin\r\n* OK half a line", "more after STARTTLS"),
        (b"TAG NO\r\n", "refuses STARTTLS"),
        (b"TAG OK begin\r\n", "TLS with 127.0.0.1 failed"),
    ],
)
def test_no_login_is_sent_if_starttls_fails(tmp_path: Path, answer: bytes, words: str) -> None:
    """No password leaves where TLS does not begin, or where somebody in between adds to the answer."""

    async def scenario() -> None:
        async def plain(session: Script) -> None:
            await session.send(answer)
            if words.startswith("TLS"):
                await session.reader.read(100)
                await session.send(b"* OK what did you say?\r\n")

        async with (
            scripted({"STARTTLS": plain}) as (_, front),
            a_store(tmp_path) as store,
            watching(settings(front.port, tls="starttls"), store, tmp_path, wait=False, timeout=0.5),
        ):
            [down] = await events(store, 1, "mailbox.down")
            assert words in down.data["error"]
            assert not any("LOGIN" in session.commands for session in front.scripts)

    asyncio.run(scenario())


def test_a_broken_report_is_reported_and_stops_nothing(tmp_path: Path, failures: list[int]) -> None:
    async def scenario() -> None:
        mails = [*HOSTILE_MAILS.values(), REPORT]
        answers = b"".join(
            b"* 1 FETCH (UID %d RFC822.SIZE %d BODY[] {%d}\r\n%s)\r\n" % (uid, len(mail), len(mail[:65536]), mail[:65536])
            for uid, mail in enumerate(mails, 1)
        )

        async def search(session: Script) -> None:
            # The search for old fax mails, before the watch began, finds none.
            found = b"" if b"HEADER" in session.command else b" ".join(b"%d" % uid for uid in range(1, len(mails) + 1))
            await session.send(b"* SEARCH " + found + b"\r\nTAG OK\r\n")

        async with scripted({"SEARCH": search, "FETCH": answers + b"TAG OK\r\n"}) as (_, front), a_store(tmp_path) as store:
            async with watching(settings(front.port), store, tmp_path, max_mail=200_000) as watcher:
                found = await events(store, len(mails), "report.received")
                assert watcher.connected
            assert "from the script" in [event.data["report"]["subject"] for event in found]
            assert sum(bool(event.data["defects"]) for event in found) > len(found) / 2
            assert len(found) == len(mails)
            assert all(len(str(event.data)) < 5000 for event in found)
            assert failures == []
            assert {command for script in front.scripts for command in script.commands} <= set(Script.usual)

    asyncio.run(scenario())


def test_a_long_mail_that_never_arrives_whole_is_reported_by_its_header(tmp_path: Path, failures: list[int]) -> None:
    mail = incoming_mail(bytes(200_000), "08-9999999").replace(b"\n", b"\r\n")

    async def scenario() -> None:
        async def fetch(session: Script) -> None:
            if b"<0.65536>" not in session.command:
                await hang_up(session)
            begun = b"* 1 FETCH (UID 1 RFC822.SIZE %d BODY[]<0> {65536}\r\n%s)\r\n" % (len(mail), mail[:65536])
            await session.send(
                begun + b"* 2 FETCH (UID 2 RFC822.SIZE %d BODY[] {%d}\r\n%s)\r\n" % (len(REPORT), len(REPORT), REPORT)
            )
            await session.send(b"TAG OK\r\n")

        async def search(session: Script) -> None:
            await session.send((b"* SEARCH" if b"HEADER" in session.command else b"* SEARCH 1 2") + b"\r\nTAG OK\r\n")

        async with scripted({"SEARCH": search, "FETCH": fetch}) as (_, front), a_store(tmp_path) as store:
            async with watching(settings(front.port), store, tmp_path) as watcher:
                [received] = await events(store, 1, "fax.received")
                await events(store, 1, "report.received")
                assert watcher.connected
            assert received.data["defects"] == ["the mail server cannot return the whole mail"]
            assert (received.data["from"], received.data["document"]) == ("+97289999999", None)
            assert len(failures) == 5

    asyncio.run(scenario())


@pytest.mark.parametrize("step", ["parse", "record"])
def test_a_mail_that_fails_in_a_step_is_reported_and_those_around_it_are_processed(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch, failures: list[int]
) -> None:
    record = ReportRecorder.record

    def fail_to_parse(mail: FetchedMail, *more: Any) -> ParsedMail:
        if b"poison" in mail.content:
            raise ZeroDivisionError
        return parse(mail, *more)

    def fail_to_record(self: ReportRecorder, tx: Any, report: Any, *more: Any) -> None:
        record(self, tx, report, *more)
        if report.subject == "poison":
            raise ZeroDivisionError

    if step == "parse":
        monkeypatch.setattr("mailbridge.report.pipeline.parse", fail_to_parse)
    else:
        monkeypatch.setattr(ReportRecorder, "record", fail_to_record)

    async def scenario() -> None:
        async with DemoMailbox() as box, a_store(tmp_path) as store:
            async with watching(settings(box.port), store, tmp_path):
                pass
            for subject in ("before", "poison", "behind"):
                await box.deliver(report_mail("Success", 9, subject))
            await box.deliver(incoming_mail(b"%PDF-1", "08-9999999"))
            async with watching(settings(box.port), store, tmp_path):
                found = await events(store, 3, "report.received")
                await events(store, 1, "fax.received")
            assert sorted(event.data["report"]["subject"] for event in found) == ["", "before", "behind"]
            [defects] = [event.data["defects"] for event in found if event.data["defects"]]
            assert "(ZeroDivisionError); it is UID " in defects[0]
            assert len(list((tmp_path / "spool" / "received").glob("*/*"))) == 1
            assert failures == []

    asyncio.run(scenario())


def test_a_mail_that_cannot_be_spooled_now_is_processed_later_and_those_before_it_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: list[int]
) -> None:
    keep = LocalSpool.store_received
    full = [True]

    def store_received(self: LocalSpool, id: str, content: Any) -> str:
        if full[0]:
            raise StoreUnavailable("the spool cannot be written: No space left on device")
        return keep(self, id, content)

    monkeypatch.setattr(LocalSpool, "store_received", store_received)

    async def scenario() -> None:
        async with DemoMailbox() as box, a_store(tmp_path) as store:
            async with watching(settings(box.port), store, tmp_path) as watcher:
                await box.deliver(report_mail("Success", 9, "before"))
                await box.deliver(incoming_mail(b"%PDF-1", "08-9999999"))
                await box.deliver(report_mail("Success", 9, "behind"))
                await events(store, 1, "report.received")
                [down] = await events(store, 1, "mailbox.down")
                assert "No space left on device" in down.data["error"]
                await until(lambda: len(failures) > 3)
                assert not watcher.connected
                full[0] = False
                [received] = await events(store, 1, "fax.received")
                found = await events(store, 2, "report.received")
                assert [event.data["report"]["subject"] for event in found] == ["before", "behind"]
                await until(lambda: watcher.connected)
            assert (tmp_path / "spool" / received.data["document"]["path"]).read_bytes() == b"%PDF-1"

    asyncio.run(scenario())


def test_a_full_database_leaves_no_copies_of_the_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: list[int]
) -> None:
    record = ReceivedFaxRecorder.record
    full = [True]

    def refuse(self: ReceivedFaxRecorder, *more: Any) -> bool:
        if full[0]:
            raise StoreUnavailable("the database cannot take it now")
        return record(self, *more)

    monkeypatch.setattr(ReceivedFaxRecorder, "record", refuse)

    async def scenario() -> None:
        async with DemoMailbox() as box, a_store(tmp_path) as store:
            async with watching(settings(box.port), store, tmp_path):
                await box.deliver(incoming_mail(b"%PDF-1", "08-9999999"))
                await until(lambda: len(failures) > 3)
                full[0] = False
                await events(store, 1, "fax.received")
            assert len(list((tmp_path / "spool" / "received").glob("*/*"))) == 1
            assert len(await events(store, 1, "fax.received")) == 1

    asyncio.run(scenario())


def test_a_flood_of_signatures_and_results_is_never_trusted(tmp_path: Path) -> None:
    mail = EmailMessage()
    mail["X-Fax-Status"], mail["X-Fax-Status-Code"], mail["From"] = "Success", "9", "fax@myfax.co.il"
    flood = b"DKIM-Signature: v=1; a=rsa-sha256; d=myfax.co.il; s=x; h=from; b=AAAA; bh=AAAA\r\n" * 300

    async def scenario() -> None:
        async with DemoMailbox() as box, a_store(tmp_path) as store:
            none = lambda name, timeout=5: None  # noqa: E731
            async with watching(settings(box.port, trust="dkim"), store, tmp_path, resolve=none):
                await box.deliver(flood + mail.as_bytes())
                [event] = await events(store, 1, "report.received")
                assert event.data["trusted"] is False

    asyncio.run(scenario())
