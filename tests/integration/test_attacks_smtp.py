"""Attacks on the SMTP service, by their numbers: what one client does costs the others nothing."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest

from mailbridge import log
from mailbridge.submission import client_connection, limits, login, session
from mailbridge.submission.limits import CommandLimits
from mailbridge.submission.turns import SHARE, Turns
from tests.integration.scripted_servers import certificate
from tests.integration.smtp_fixtures import MAIL, USERS, Gateway, connect, gateway, greeting_of, read_reply, until
from tests.wait_helpers import PATIENCE

CONNECTIONS = 20


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The log lines about clients."""
    found: list[dict[str, Any]] = []
    for name in (
        "command_limit_reached",
        "bad_command_limit_reached",
        "mail_refused",
        "connection_limit_reached",
        "login_failed",
    ):
        monkeypatch.setattr(log, name, lambda id, /, name=name, **facts: found.append({"event": name, "id": id, **facts}))
    return found


@pytest.fixture(autouse=True)
def no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_connection, "EXCESS_DELAY", 0.0)


def flood(mx: Gateway, text: bytes) -> list[socket.socket]:
    """Open many connections, each of which sends a burst of commands and reads nothing."""
    connections = [connect(mx.port, b"EHLO x") for _ in range(CONNECTIONS)]
    for connection in connections:
        connection.setblocking(False)
        with contextlib.suppress(OSError):
            connection.send(text)
    return connections


def replies(connection: socket.socket) -> bytes:
    """Return what a server sent until it closed or reset the connection."""
    connection.settimeout(PATIENCE)
    answer = b""
    with contextlib.suppress(ConnectionError):
        while chunk := connection.recv(65536):
            answer += chunk
    connection.close()
    return answer


class Steps:
    """How many replies the service gave in each turn of its event loop."""

    def __init__(self, mx: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
        self._now, self.most = 0, 0
        count = CommandLimits.count

        def counted(limits: CommandLimits, command: str, code: str) -> str | None:
            self._now += 1
            self.most = max(self.most, self._now)
            return count(limits, command, code)

        monkeypatch.setattr(CommandLimits, "count", counted)
        asyncio.run_coroutine_threadsafe(self._begin(), mx.loop).result(PATIENCE)

    async def _begin(self) -> None:
        self._task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(0)
            self._now = 0


@pytest.mark.parametrize("command", [b"NOOP\r\n", b"RSET\r\n", b"VRFY x\r\n", b"EHLO x\r\n", b"RCPT TO:<nobody@fax.local>\r\n"])
def test_attack_1_pipelined_commands_are_answered_in_turns_and_end_with_421(
    tmp_path: Path, command: bytes, lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with gateway(tmp_path) as mx:
        steps = Steps(mx, monkeypatch)
        connections = flood(mx, b"MAIL FROM:<a@b>\r\n" + command * (250_000 // len(command)))
        assert mx.send()[0] == 250
        answers = [replies(connection) for connection in connections]
        limit = 20 if command.startswith(b"RCPT") else 100
        assert all(answer.count(b"\r\n") <= limit * 9 for answer in answers)
        ended = CONNECTIONS if limit == 100 else 0  # the others' lines are beyond the limit of one client's lines
        until(lambda: sum(line["event"] == "command_limit_reached" for line in lines) >= ended)
    # Each connection answers one command before it waits for its turn.
    assert steps.most <= CONNECTIONS + SHARE
    refused = [line for line in lines if line["event"] == "mail_refused"]
    assert len(refused) <= 5 * CONNECTIONS
    assert len(lines) < 110


def test_attack_1_a_client_whose_command_takes_long_rests_for_twice_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(1000))
    rests: list[tuple[str, float]] = []
    with gateway(tmp_path, contacts={f"contact-{number}": "03-9876543" for number in range(5)}) as mx:
        connection = connect(mx.port, b"EHLO x", b"MAIL FROM:<a@b>")
        monkeypatch.setattr(session, "perf_counter", lambda: float(next(clock)))
        monkeypatch.setattr(Turns, "rest", lambda _, client, seconds: rests.append((client, seconds)))
        connection.sendall(b"RCPT TO:<contact-x@fax.local>\r\n")
        assert read_reply(connection).startswith(b"550 5.1.1 ")
        assert rests == [("127.0.0.1", 2.0)]
        connection.close()


def test_attack_1_the_last_reply_is_421_and_says_why(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx:
        for command, reason in (
            (b"NOOP", b"commands without a mail"),
            (b"RCPT TO:<nobody@fax.local>", b"rejected senders and recipients"),
            (b"MAIL FROM:<a b>", b"rejected senders and recipients"),
        ):
            connection = connect(mx.port, b"EHLO x")
            connection.sendall(b"MAIL FROM:<a@b>\r\n" if command.startswith(b"RCPT") else b"")
            answer = b""
            while b"421" not in answer:
                connection.sendall(command + b"\r\n")
                answer = read_reply(connection)
            assert answer.splitlines()[-1] == b"421 4.7.0 Too many " + reason + b"; closing connection"
            connection.close()


def test_attack_1_a_mail_with_a_hundred_recipients_and_many_mails_in_one_session_are_no_attack(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx, mx.client() as client:
        for _ in range(3):
            client.mail("a@b")
            statuses = [client.rcpt(f"03-98765{number:02}@fax.local")[0] for number in range(100)]
            assert statuses == [250] * 100
            # RFC 5321 section 4.5.3.1.10: the client sends the others in another mail.
            assert [client.rcpt(f"03-98764{number:02}@fax.local")[0] for number in range(50)] == [452] * 50
            client.rset()
        for _ in range(40):
            client.mail("a@b")
            assert client.rcpt("nobody@fax.local")[0] == 550
            assert client.rcpt("03-9876543@fax.local")[0] == 250
            assert client.data(MAIL)[0] == 250


def test_attack_1_a_line_without_an_end_ends_the_session(tmp_path: Path, lines: list[dict[str, Any]]) -> None:
    with gateway(tmp_path) as mx:
        connections = flood(mx, b"x" * 250_000)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.settimeout(PATIENCE)
                while True:
                    connection.sendall(b"x" * 100_000)
            connection.close()
        until(lambda: len(lines) == CONNECTIONS)
        assert {line["reason"] for line in lines} == {"a line without an end"}
        assert mx.send()[0] == 250


def test_attack_1_data_of_many_connections_is_read_in_turns_and_arrives_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[str] = []
    call_later = Turns.call_later

    def counted(turns: Turns, client: str, cost: int, work: Any) -> None:
        name = getattr(work, "func", work).__name__
        pauses.extend([client] if name in ("_take_and_resume", "_resume_raw_input") else [])
        call_later(turns, client, cost, work)

    monkeypatch.setattr(Turns, "call_later", counted)
    block = (b"x" * 76 + b"\r\n") * 13_000
    with gateway(tmp_path) as mx:
        to = (b"EHLO x", b"MAIL FROM:<a@b>", b"RCPT TO:<039876543@fax.local>", b"DATA")
        connections = [connect(mx.port, *to) for _ in range(CONNECTIONS)]
        threads = [threading.Thread(target=each.sendall, args=[block + b"\r\n.\r\nNOOP\r\n"]) for each in connections]
        for thread in threads:
            thread.start()
        for thread, connection in zip(threads, connections, strict=True):
            thread.join()
            answer = read_reply(connection)
            while answer.count(b"\r\n") < 2:
                answer += read_reply(connection)
            assert [line[:3] for line in answer.splitlines()] == [b"250", b"250"]
            connection.close()
        assert {len(mail) for mail in mx.mails()} == {len(block) + 2}
    assert len(pauses) >= CONNECTIONS


def silent(port: int, source: str = "127.0.0.1") -> socket.socket:
    """Open a connection that says nothing, not even to a greeting."""
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE, source_address=(source, 0))


def test_attack_7_connections_are_counted_before_their_tls_handshake(
    tmp_path: Path, lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate(tmp_path)
    tls = {"certificate": tmp_path / "cert.pem", "key": tmp_path / "key.pem", "listen": ["127.0.0.1:0"]}
    monkeypatch.setattr("mailbridge.submission.server._HANDSHAKE_TIMEOUT", 1000)
    with gateway(tmp_path, {"tls": tls, "max_connections_per_client": 5}) as mx:
        port = mx.addresses[1][1]
        held = [silent(port) for _ in range(5)]
        extra = silent(port)
        assert replies(extra) == b""
        until(lambda: [line["event"] for line in lines] == ["connection_limit_reached"])
        # Somebody else gets in, and so does this client, in place of what it held longest.
        with silent(port, "127.0.0.2") as other, client_context().wrap_socket(other) as inside:
            assert read_reply(inside).startswith(b"220 ")
        mx.skip(3)
        with silent(port) as again, client_context().wrap_socket(again) as inside:
            assert read_reply(inside).startswith(b"220 ")
        assert replies(held[0]) == b""
        # Nobody may stay in a handshake.
        mx.skip(31)
        assert [replies(connection) for connection in held[1:]] == [b""] * 4


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def auth(name: str, password: str) -> bytes:
    return b"AUTH PLAIN " + base64.b64encode(f"\0{name}\0{password}".encode()) + b"\r\n"


def greeted(port: int, source: str) -> socket.socket:
    connection = silent(port, source)
    read_reply(connection)
    connection.sendall(b"EHLO x\r\n")
    read_reply(connection)
    return connection


def answer_to(connection: socket.socket, command: bytes) -> bytes:
    connection.sendall(command)
    return read_reply(connection)[:9]


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The passwords that were checked; the delay after the first wrong one is as long as after many."""
    found: list[bytes] = []

    def check(hash: str, password: bytes) -> bool:
        found.append(password)
        return password == b"secret"

    monkeypatch.setattr(login, "check_password", check)
    monkeypatch.setattr(limits, "_FIRST_DELAY", 1000.0)
    monkeypatch.setattr(limits, "_MAX_DELAY", 1000.0)
    return found


def test_attack_8_a_client_that_hangs_up_gains_no_guesses(
    tmp_path: Path, checks: list[bytes], lines: list[dict[str, Any]]
) -> None:
    with gateway(tmp_path, user=USERS) as mx:
        guessing = [greeted(mx.port, "127.0.0.1") for _ in range(20)]
        for number, connection in enumerate(guessing):
            connection.sendall(auth(f"user {number}", "guess"))
            connection.close()
        until(lambda: len(lines) == len(checks) > 0)
        connection = greeted(mx.port, "127.0.0.1")
        for _ in range(5):
            assert answer_to(connection, auth("free", "secret")) == b"454 4.7.0"
        # Two are checked at once; no other is, not even one that came in the same instant.
        assert len(checks) <= 2
        assert len(lines) == len(checks)
        connection.close()
        mx.skip(1001)
        connection = greeted(mx.port, "127.0.0.1")
        assert answer_to(connection, auth("free", "secret")) == b"235 2.7.0"
        connection.close()


def test_attack_8_a_name_is_guarded_from_many_addresses_and_its_own_client_still_logs_in(
    tmp_path: Path, checks: list[bytes]
) -> None:
    with gateway(tmp_path, user=USERS) as mx:
        scanner = greeted(mx.port, "127.0.0.9")
        assert answer_to(scanner, auth("free", "secret")) == b"235 2.7.0"
        for host in range(2, 8):
            guess = greeted(mx.port, f"127.0.0.{host}")
            guess.sendall(auth("free", f"guess {host}"))
            until(lambda: len(checks) == 2)
            guess.close()
        assert checks == [b"secret", b"guess 2"]
        again = greeted(mx.port, "127.0.0.9")
        assert answer_to(again, auth("free", "secret")) == b"235 2.7.0"
        elsewhere = greeted(mx.port, "127.0.0.8")
        assert answer_to(elsewhere, auth("free", "secret")) == b"454 4.7.0"
        assert answer_to(elsewhere, auth("anna", "secret")) == b"235 2.7.0"
        for connection in (scanner, again, elsewhere):
            connection.close()


def test_attack_9_silent_connections_are_closed_until_they_log_in_or_begin_a_mail(tmp_path: Path) -> None:
    with gateway(tmp_path, user=USERS) as mx:
        quiet, before_mail = connect(mx.port), connect(mx.port, b"EHLO x")
        logged_in, in_mail = (
            connect(mx.port, b"EHLO x", auth("free", "secret").strip()),
            connect(mx.port, b"EHLO x", b"MAIL FROM:<a@b>"),
        )
        mx.skip(29)
        assert answer_to(before_mail, b"NOOP\r\n") == b"250 2.0.0"
        mx.skip(2)
        assert read_reply(quiet).startswith(b"421 4.4.2 ")
        assert read_reply(before_mail).startswith(b"421 4.4.2 ")
        mx.skip(200)
        assert answer_to(logged_in, b"NOOP\r\n") == b"250 2.0.0"
        assert answer_to(in_mail, b"RSET\r\n") == b"250 2.0.0"
        for connection in (quiet, before_mail, logged_in, in_mail):
            connection.close()


def test_attack_9_who_connects_and_says_nothing_takes_nobodys_place(tmp_path: Path) -> None:
    with gateway(tmp_path, {"max_connections": 20, "max_connections_per_client": 10}) as mx:
        held = [connection for host in (2, 3) for connection in (silent(mx.port, f"127.0.0.{host}") for _ in range(10))]
        for connection in held:
            assert read_reply(connection).startswith(b"220 ")
        # All places are taken, and nobody has waited long: the clients that have most give way.
        assert mx.send()[0] == 250
        # All places of one client: what has been silent longest gives way.
        mx.skip(3)
        with silent(mx.port, "127.0.0.3") as same:
            assert read_reply(same).startswith(b"220 ")
        cut = 0
        for connection in held:
            connection.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                cut += connection.recv(100).startswith(b"421 4.7.0 ")
            connection.close()
        assert cut == 2


def test_attack_9_a_mail_under_way_is_not_cut(tmp_path: Path) -> None:
    with gateway(tmp_path, {"max_connections_per_client": 1}) as mx:
        sending = connect(mx.port, b"EHLO x", b"MAIL FROM:<a@b>", b"RCPT TO:<039876543@fax.local>", b"DATA")
        mx.skip(20)
        assert greeting_of(mx.port).startswith(b"421 4.7.0 ")
        sending.sendall(MAIL + b".\r\n")
        assert read_reply(sending).startswith(b"250 2.0.0 queued as fax_")
        sending.close()
