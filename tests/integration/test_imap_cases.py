"""IMAP servers as other people have met them: cases I1 to I7, each with its kind. I8 and I9 are below them."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mailbridge.demo.mailbox import report_mail
from mailbridge.errors import LoginRefused, MailboxError
from mailbridge.model import Cursor
from mailbridge.report.imap_connection import Connection
from mailbridge.report.mail_fetcher import TRIES
from mailbridge.report.watcher import Watcher
from tests.integration.imap_script import Script, fetched, scripted
from tests.integration.scripted_servers import certificate
from tests.integration.watcher_fixtures import a_store, events, settings, watching
from tests.wait_helpers import until

REPORT = report_mail("Success", 9, "from the script").replace(b"\n", b"\r\n")
ONE = b"* SEARCH 41\r\nTAG OK\r\n"
SELECT = b"* 1 EXISTS\r\n* OK [UIDVALIDITY 77]\r\n* OK [UIDNEXT 42]\r\nTAG OK\r\n"
SERVED = fetched(41, REPORT) + b"TAG OK\r\n"
NO = Callable[[Script], Awaitable[None]]


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the watcher decided to wait after each error; it waits for nothing."""
    found: list[float] = []
    real = Watcher._pause

    def pause(self: Watcher, error: Exception) -> float:
        found.append(real(self, error))
        return 0.0

    monkeypatch.setattr(Watcher, "_pause", pause)
    return found


def times(count: int, refusal: bytes, then: bytes) -> NO:
    """Return an answer that is `refusal` so many times, over all connections, and `then` from then on."""
    left = [count]

    async def answer(session: Script) -> None:
        left[0] -= 1
        await session.send(refusal if left[0] >= 0 else then)

    return answer


THROTTLED = b"TAG NO [UNAVAILABLE] Request is throttled. Suggested Backoff Time: 92415 milliseconds\r\n"
PLEAS = {
    THROTTLED: 92.415,
    b"TAG BAD Request is throttled. Suggested Backoff Time: 5000000 milliseconds\r\n": 900.0,
    b"TAG NO [TEMPFAIL] not now\r\n": 0.0,
    b"TAG NO [INUSE] mailbox is locked\r\n": 0.0,
    b"TAG NO [LIMIT] wait 2 minutes\r\n": 120.0,
    b"TAG NO [SERVERBUG] Internal error occurred\r\n": 0.0,
    b"TAG NO [THROTTLED] THROTTLED\r\n": 0.0,
    b"TAG NO [OVERQUOTA] Account exceeded command or bandwidth limits\r\n": 0.0,
    b"TAG NO Server busy, please try again later.\r\n": 0.0,
    b"TAG NO Temporary problem, please try again in 30 seconds\r\n": 30.0,
    b"TAG NO Maximum number of connections from user+IP exceeded\r\n": 0.0,
    b"TAG NO Mailbox is locked by another process\r\n": 0.0,
    b"TAG NO Timeout while waiting for lock\r\n": 0.0,
    b"* BYE Connection limit reached\r\n": 0.0,
    b"* BYE Server shutting down\r\n": 0.0,
    b"* BYE [UNAVAILABLE] Temporary system problem, try again later\r\n": 0.0,
}


@pytest.mark.parametrize("plea", PLEAS, ids=lambda plea: plea.decode().split(" ", 1)[1][:40].strip())
def test_I1_a_plea_for_patience_costs_no_mail(tmp_path: Path, plea: bytes, pauses: list[float]) -> None:
    pleas = 3 * TRIES

    async def scenario() -> None:
        async with (
            scripted({"SELECT": SELECT, "SEARCH": ONE, "FETCH": times(pleas, plea, SERVED)}) as (_, front),
            a_store(tmp_path) as store,
        ):
            await store.run(lambda tx: tx.mailboxes.save_cursor("office", "INBOX", Cursor(uidvalidity=77, last_uid=40)))
            async with watching(settings(front.port), store, tmp_path):
                [event] = await events(store, 1, "report.received")
        assert event.data["report"]["subject"] == "from the script"
        assert len(pauses) == pleas
        # As long as it asks for, and never sooner than usual.
        assert all(pause >= PLEAS[plea] for pause in pauses)
        if PLEAS[plea] > 300:
            assert set(pauses) == {PLEAS[plea]}

    asyncio.run(scenario())


@pytest.mark.parametrize("command", ["LOGIN", "SELECT", "SEARCH", "CAPABILITY"])
def test_I1_a_plea_at_any_command_is_waited_for(tmp_path: Path, command: str, pauses: list[float]) -> None:
    answers = {"SELECT": SELECT, "SEARCH": ONE, "FETCH": SERVED}
    usual = {**Script.usual, **answers}[command]

    async def scenario() -> None:
        async with scripted({**answers, command: times(2, THROTTLED, usual)}) as (_, front), a_store(tmp_path) as store:
            await store.run(lambda tx: tx.mailboxes.save_cursor("office", "INBOX", Cursor(uidvalidity=77, last_uid=40)))
            async with watching(settings(front.port), store, tmp_path):
                await events(store, 1, "report.received")
        assert pauses == [92.415, 92.415]

    asyncio.run(scenario())


def test_I1_a_plea_at_the_mark_leaves_the_mail_to_be_marked_later(tmp_path: Path) -> None:
    async def scenario() -> None:
        answers = {"SELECT": SELECT, "SEARCH": ONE, "FETCH": SERVED, "STORE": times(1, THROTTLED, b"TAG OK\r\n")}
        async with (
            scripted(answers) as (_, front),
            a_store(tmp_path) as store,
            watching(settings(front.port), store, tmp_path, catch_up=True, idle=0.02),
        ):
            await until(lambda: front.scripts[0].commands.count("STORE") >= 1)
            await front.scripts[0].send(b"* 1 EXISTS\r\n")
            await until(lambda: front.scripts[0].commands.count("STORE") >= 2)

    asyncio.run(scenario())


def test_I1_a_mail_that_the_server_refuses_for_itself_is_passed_over(tmp_path: Path) -> None:
    async def scenario() -> None:
        refused = b"TAG NO it could not be converted to an RFC-822 compatible format\r\n"
        answers = {"SELECT": SELECT, "SEARCH": ONE, "FETCH": times(100, refused, SERVED)}
        async with (
            scripted(answers) as (_, front),
            a_store(tmp_path) as store,
            watching(settings(front.port), store, tmp_path, wait=False, catch_up=True),
        ):
            [event] = await events(store, 1, "report.received")
        assert "the mail server cannot return this mail" in event.data["defects"][0]

    asyncio.run(scenario())


@pytest.mark.parametrize("tls", ["none", "implicit"])
def test_I2_the_second_address_is_tried_when_the_first_never_answers(
    tmp_path: Path, tls: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server_tls = certificate(tmp_path) if tls == "implicit" else None
    context = ssl.create_default_context(cafile=tmp_path / "cert.pem") if server_tls else None
    if context:
        context.check_hostname = False

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        asked, connect = list[Any](), loop.sock_connect

        async def getaddrinfo(host: Any, port: Any, **_: Any) -> list[Any]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("192.0.2.1", "127.0.0.1")]

        async def sock_connect(sock: socket.socket, address: Any) -> None:
            asked.append(address[0])
            if address[0] == "192.0.2.1":
                await asyncio.Event().wait()  # as in a black hole
            await connect(sock, address)

        async with scripted({}, tls=server_tls) as (_, front):
            monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
            monkeypatch.setattr(loop, "sock_connect", sock_connect)
            connection = await Connection.open("imap.example", front.port, tls, context=context)
            assert asked == ["192.0.2.1", "127.0.0.1"]
            connection.close()

    asyncio.run(scenario())


HEBREW = "סיסמה-7"


async def strict_login(session: Script) -> None:
    """LOGIN as RFC 3501 has it: 8-bit bytes only in a literal."""
    line, words = session.command, list[bytes]()
    while True:
        if not line.isascii():
            await session.send(b"TAG BAD 8-bit data in a quoted string\r\n")
            return
        head, brace, size = line.rpartition(b"{")
        words += (head if brace else line).split()
        if not brace:
            break
        await session.send(b"+ go on\r\n")
        words.append(await session.reader.readexactly(int(size.rstrip(b"}"))))
        line = (await session.reader.readline()).rstrip()
    words_read.append(words)
    await session.send(b"TAG OK\r\n")


words_read: list[list[bytes]] = []


def log_in(answers: dict[str, Any], username: str, password: str, tls: ssl.SSLContext | None = None, trusted: Any = None) -> Any:
    """Log in to a scripted server; return the commands that it got."""

    async def scenario() -> list[str]:
        async with scripted(answers, tls=tls) as (_, front):
            connection = await Connection.open("127.0.0.1", front.port, "implicit" if tls else "none", context=trusted)
            try:
                await connection.login(username, password)
            finally:
                connection.close()
            return front.scripts[0].commands

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("office", HEBREW),
        ("דנה@example.co.il", "plain"),
        ("דנה@example.co.il", HEBREW),
        ("office", 'quotes " and \\ and ü'),
        ("office", "a\ttab"),
        ("office", "new\r\nline"),
    ],
)
def test_I3_a_password_beyond_ascii_goes_as_a_literal(username: str, password: str) -> None:
    words_read.clear()
    assert log_in({"LOGIN": strict_login}, username, password) == ["CAPABILITY", "LOGIN", "CAPABILITY"]
    [[command, user, secret]] = words_read
    assert (command, user.strip(b'"').decode(), secret.strip(b'"').decode()) == (b"LOGIN", username, password)


def sasl(mechanism: str, *expected: str, initial: bool) -> NO:
    async def authenticate(session: Script) -> None:
        words = session.command.decode().split()
        assert words[:2] == ["AUTHENTICATE", mechanism]
        given = [base64.b64decode(words[2]).decode()] if len(words) == 3 else []
        assert bool(given) == initial
        while len(given) < len(expected):
            await session.send(b"+ \r\n")
            given.append(base64.b64decode(await session.reader.readline()).decode())
        await session.send(b"TAG OK\r\n" if tuple(given) == expected else b"TAG NO [AUTHENTICATIONFAILED] wrong\r\n")

    return authenticate


def capabilities(*names: str) -> bytes:
    return b"* CAPABILITY IMAP4rev1 " + " ".join(names).encode() + b"\r\nTAG OK\r\n"


@pytest.mark.parametrize("initial", [False, True], ids=["continuation", "SASL-IR"])
def test_I3_authenticate_plain_is_preferred_for_a_password_beyond_ascii(initial: bool) -> None:
    offered = capabilities("AUTH=PLAIN", *["SASL-IR"] * initial)
    answers = {"CAPABILITY": offered, "AUTHENTICATE": sasl("PLAIN", f"\0office\0{HEBREW}", initial=initial)}
    assert "AUTHENTICATE" in log_in(answers, "office", HEBREW)


def test_I3_a_nul_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(MailboxError, match="NUL"):
        log_in({}, "office", "a\0b")


def test_I4_logindisabled_with_auth_plain_over_tls_is_authenticate_plain(tmp_path: Path) -> None:
    tls = certificate(tmp_path)
    trusted = ssl.create_default_context(cafile=tmp_path / "cert.pem")
    answers = {
        "CAPABILITY": capabilities("SASL-IR", "LOGINDISABLED", "AUTH=PLAIN"),
        "AUTHENTICATE": sasl("PLAIN", "\0office\0hunter22", initial=True),
    }
    assert log_in(answers, "office", "hunter22", tls, trusted) == ["CAPABILITY", "AUTHENTICATE", "CAPABILITY"]


def test_I4_logindisabled_with_auth_login_is_authenticate_login() -> None:
    answers = {
        "CAPABILITY": capabilities("LOGINDISABLED", "AUTH=LOGIN"),
        "AUTHENTICATE": sasl("LOGIN", "office", "hunter22", initial=False),
    }
    assert "AUTHENTICATE" in log_in(answers, "office", "hunter22")


@pytest.mark.parametrize(("offered", "remedy"), [("AUTH=XOAUTH2", "set oauth2 instead"), ("STARTTLS", "set tls to implicit")])
def test_I4_without_a_mechanism_for_passwords_the_error_says_what_to_do(offered: str, remedy: str) -> None:
    with pytest.raises(MailboxError, match=remedy):
        log_in({"CAPABILITY": capabilities("LOGINDISABLED", offered)}, "office", "hunter22")


WRONG = [
    b"TAG NO [AUTHENTICATIONFAILED] Invalid credentials\r\n",
    b"TAG NO LOGIN failed.\r\n",
    b"TAG NO Invalid login or password, please try again\r\n",
    b"TAG NO [EXPIRED] password expired\r\n",
    b"TAG NO\r\n",
]


@pytest.mark.parametrize("refusal", WRONG)
def test_I5_a_wrong_password_is_tried_rarely(tmp_path: Path, refusal: bytes, pauses: list[float]) -> None:
    async def scenario() -> None:
        async with (
            scripted({"LOGIN": times(5, refusal, b"TAG OK\r\n")}) as (_, front),
            a_store(tmp_path) as store,
            watching(settings(front.port), store, tmp_path) as watcher,
        ):
            assert watcher.connected
        # The first login, and no second one within five minutes.
        assert pauses == [300.0, 600.0, 1200.0, 1800.0, 1800.0]

    asyncio.run(scenario())


def test_I5_other_failures_between_refused_logins_do_not_count_as_logins(tmp_path: Path, pauses: list[float]) -> None:
    async def scenario() -> None:
        answers = {"LOGIN": times(1, WRONG[0], b"TAG OK\r\n"), "SELECT": times(1, b"TAG NO no such folder\r\n", SELECT)}
        async with scripted(answers) as (_, front), a_store(tmp_path) as store, watching(settings(front.port), store, tmp_path):
            pass
        assert pauses[0] == 300.0
        assert pauses[1] < 10

    asyncio.run(scenario())


@pytest.mark.parametrize("early", [False, True])
def test_I5_a_reload_ends_the_pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, early: bool) -> None:
    """`early`: the reload comes just before the pause begins."""

    def pause(watcher: Watcher, _: Exception) -> float:
        if early:
            watcher.retry_now()
        return 3600.0

    monkeypatch.setattr(Watcher, "_pause", pause)

    async def scenario() -> None:
        answers = {"LOGIN": times(1, WRONG[0], b"TAG OK\r\n")}
        async with (
            scripted(answers) as (_, front),
            a_store(tmp_path) as store,
            watching(settings(front.port), store, tmp_path, wait=False) as watcher,
        ):
            await events(store, 1, "mailbox.down")
            if not early:
                watcher.retry_now()
            await until(lambda: watcher.connected)

    asyncio.run(scenario())


def test_I5_the_wrong_password_is_not_in_the_error() -> None:
    with pytest.raises(LoginRefused) as refused:
        log_in({"LOGIN": b'TAG NO no user has the password hunt\\"er\r\n'}, "office", 'hunt"er')
    assert "hunt" not in str(refused.value)


def test_I6_authenticated_but_not_connected_is_explained(tmp_path: Path) -> None:
    async def scenario() -> None:
        answers = {"SELECT": b"TAG BAD User is authenticated but not connected.\r\n"}
        async with (
            scripted(answers) as (_, front),
            a_store(tmp_path) as store,
            watching(settings(front.port), store, tmp_path, wait=False),
        ):
            [down] = await events(store, 1, "mailbox.down")
        for words in ("authenticated but not connected", "another user than `username`", "IMAP is off", "shared mailbox"):
            assert words in down.data["error"]

    asyncio.run(scenario())


def old_mails(search: bytes, **answers: Any) -> dict[str, Any]:
    """Return a folder with three old mails, of which UIDs 1 and 3 are fax mails, and a search by header that answers so."""
    mails = {uid: REPORT.replace(b"from the script", b"old %d" % uid) for uid in (1, 3)}
    mails[2] = b"Subject: lunch\r\n\r\nat one?\r\n"

    async def searched(session: Script) -> None:
        by_header = b"HEADER" in session.command
        await session.send(search if by_header else b"* SEARCH 1 2 3\r\nTAG OK\r\n")

    async def fetch(session: Script) -> None:
        await session.send(b"".join(fetched(uid, mail) for uid, mail in mails.items()) + b"TAG OK\r\n")

    return {
        "SELECT": b"* 3 EXISTS\r\n* OK [UIDVALIDITY 77]\r\n* OK [UIDNEXT 4]\r\nTAG OK\r\n",
        "SEARCH": searched,
        "FETCH": fetch,
        **answers,
    }


@pytest.mark.parametrize(
    "search",
    [b"* SEARCH\r\nTAG OK\r\n", b"TAG OK\r\n", b"* SEARCH 1 2 3\r\nTAG OK\r\n", b"TAG NO not by header\r\n", b"TAG BAD\r\n"],
    ids=["empty", "no answer", "everything", "NO", "BAD"],
)
def test_I7_old_faxes_are_not_reported_as_new_when_the_search_lies(tmp_path: Path, search: bytes) -> None:
    async def scenario() -> None:
        async with (
            scripted(old_mails(search)) as (_, front),
            a_store(tmp_path) as store,
            watching(settings(front.port), store, tmp_path),
        ):
            pass
        new_uids = b"* 3 EXISTS\r\n* OK [UIDVALIDITY 78]\r\n* OK [UIDNEXT 4]\r\nTAG OK\r\n"
        async with (
            scripted(old_mails(search, SELECT=new_uids)) as (_, front),
            a_store(tmp_path) as store,
            watching(settings(front.port), store, tmp_path),
        ):
            cursor = await store.run(lambda tx: tx.mailboxes.cursor("office", "INBOX"))
            assert cursor == Cursor(uidvalidity=78, last_uid=3)
            assert await store.run(lambda tx: tx.events.newest()) == []

    asyncio.run(scenario())
