"""SMTP in, by real clients on loopback: replies, limits, TLS, logins, and mails that are whole or absent."""

from __future__ import annotations

import asyncio
import base64
import os
import random
import shutil
import smtplib
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mailbridge import log
from mailbridge.config import Config
from mailbridge.errors import ControlError, Refused, StoreUnavailable
from mailbridge.model import Document, Fax
from mailbridge.runtime import Runtime
from mailbridge.store.spool import Spool, SpoolFile, derived_path
from mailbridge.store.sqlite import SqliteStore
from mailbridge.submission.letter import Letter
from mailbridge.submission.local_submission import LocalSubmission
from mailbridge.submission.password import hash_password
from mailbridge.submission.server import SmtpService
from tests.integration import scripted_servers
from tests.wait_helpers import PATIENCE

MAIL = b"From: anna@example.co.il\r\nSubject: hello\r\n\r\nbody\r\n"
HASH = hash_password("secret")


class Gateway:
    """The SMTP service with a SQLite store, in a thread of its own. `letter` is what every mail is judged to be."""

    def __init__(self, state: Path, smtp: dict[str, Any], more: dict[str, Any], sockets: Sequence[socket.socket] = ()) -> None:
        self._sockets = sockets
        account = {"email": "a@example.co.il", "password": "x"}
        accounts = {"office": account, "second": account}
        self.config = Config.model_validate(
            {"account": accounts, "state_dir": state, "smtp": {"listen": ["127.0.0.1:0"], "hostname": "mx.test", **smtp}, **more}
        )
        self.spool = Spool(state / "spool")
        self.letter: dict[str, Any] = {"message_id": None, "subject": "hello", "sender": "anna@example.co.il"}
        self.judging: Callable[[], Any] = lambda: None
        self.letter_read = threading.Event()
        self._ready, self._stop = threading.Event(), asyncio.Event()
        self.grace = 2.0
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(state)))
        self._thread.start()
        assert self._ready.wait(20)

    async def _read_letter(self, path: str) -> Letter:
        self.letter_read.set()
        await asyncio.to_thread(self.judging)
        document = Document(name="a.txt", content_type="text/plain", size=1, sha256="", path=path, offset=0, length=1)
        if not (derived := self.letter.get("derived", b"")):
            return Letter(documents=(document,), **self.letter)
        page = replace(document, name="page.pdf", path=derived_path(path), size=len(derived), length=len(derived))
        return Letter(documents=(page, document), **self.letter)

    async def _run(self, state: Path) -> None:
        self.loop = asyncio.get_running_loop()
        async with SqliteStore(state, lambda *_: {}, lambda *_: []) as store:
            self.store = store
            runtime = Runtime(store, self.spool, lambda: datetime.now(UTC), random.random)
            self.service = SmtpService(self.config, runtime, self._read_letter, self._sockets)
            self.addresses = await self.service.start()
            self._ready.set()
            await self._stop.wait()
            await self.service.stop(self.grace)

    def stop(self) -> None:
        self.begin_stop()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def begin_stop(self) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._stop.set)

    @property
    def port(self) -> int:
        return self.addresses[0][1]

    def client(self) -> smtplib.SMTP:
        client = smtplib.SMTP("127.0.0.1", self.port, timeout=20)
        client.ehlo("client.test")
        return client

    def faxes(self) -> list[Fax]:
        return asyncio.run_coroutine_threadsafe(self.store.run(lambda tx: tx.faxes.newest()), self.loop).result(10)

    def files(self) -> list[Path]:
        return list((self.spool.root / "mail").rglob("*.eml"))

    def send(self, mail: bytes = MAIL, to: str = "03-9876543@fax.local") -> tuple[int, bytes]:
        with self.client() as client:
            assert client.mail("anna@example.co.il")[0] == 250
            assert client.rcpt(to)[0] == 250
            return client.data(mail)


@contextmanager
def gateway(
    state: Path, smtp: dict[str, Any] | None = None, *, sockets: Sequence[socket.socket] = (), **more: Any
) -> Iterator[Gateway]:
    running = Gateway(state, smtp or {}, more, sockets)
    try:
        yield running
    finally:
        running.stop()


def until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def talk(port: int, *said: bytes) -> socket.socket:
    """Open a connection, read the greeting, say what is given and read one reply for each line."""
    line = socket.create_connection(("127.0.0.1", port), timeout=20)
    read(line)
    for words in said:
        line.sendall(words + b"\r\n")
        read(line)
    return line


def read(line: socket.socket) -> bytes:
    """Read up to the end of a whole reply; what came so far when the server closes."""
    got = b""
    while not (got.endswith(b"\r\n") and got.splitlines()[-1][3:4] == b" "):
        chunk = line.recv(65536)
        if not chunk:
            break
        got += chunk
    return got


def test_a_mail_becomes_a_fax_for_each_number(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx:
        with mx.client() as client:
            offered = set(client.esmtp_features)
            assert offered == {"size", "8bitmime", "smtputf8", "pipelining", "enhancedstatuscodes", "dsn", "auth"}
            assert client.mail("anna@example.co.il", ["RET=HDRS", "ENVID=Qq+2B1"])[0] == 250
            assert client.rcpt("03-9876543@fax.local", ["NOTIFY=SUCCESS,failure", "ORCPT=rfc822;Anna@X"])[0] == 250
            assert client.docmd("RCPT", "TO:<+97239876543@fax.local>")[0] == 250
            assert client.docmd("RCPT", "TO:<0501234567@fax.local>")[0] == 250
            code, reply = client.data(b".dot\r\n..two\r\n")
        faxes = {fax.number: fax for fax in mx.faxes()}
        assert set(faxes) == {"+97239876543", "+972501234567"}
        assert (code, reply) == (250, f"2.0.0 queued as {faxes['+97239876543'].id} and 1 more".encode())
        assert all(fax.state == "queued" and fax.account == "office" for fax in faxes.values())
        assert mx.files()[0].read_bytes() == b".dot\r\n..two\r\n"
        assert faxes["+97239876543"].email.envelope_id == "Qq+2B1"


def test_replies_to_recipients(tmp_path: Path) -> None:
    with gateway(tmp_path, {"max_recipients": 2}) as mx, mx.client() as client:
        assert client.docmd("RCPT", "TO:<039876543@fax.local>")[0] == 503
        client.mail("anna@example.co.il")
        for address, code in (
            ("x@gmail.com", b"5.1.2"),
            ("100@fax.local", b"5.1.3"),
            ("*1234@fax.local", b"5.1.3"),
            ("+12125551234@fax.local", b"5.7.1"),
            ("1-900-123456@fax.local", b"5.7.1"),
        ):
            status, words = client.rcpt(address)
            assert (status, words[:5]) == (550, code)
        assert client.docmd("RCPT", "TO:<>")[0] == 550
        assert client.docmd("RCPT", "TO:<039876543@fax.local> XYZ=1")[0] == 555
        assert client.docmd("DATA")[0] == 503
        assert client.rcpt("039876543@fax.local")[0] == 250
        assert client.rcpt("039876544@fax.local")[0] == 250
        assert client.rcpt("039876545@fax.local")[1][:5] == b"4.5.3"


def test_the_null_sender_is_refused_at_rcpt(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx, mx.client() as client:
        assert client.docmd("MAIL", "FROM:<>")[0] == 250
        status, words = client.rcpt("039876543@fax.local")
        assert (status, words[:5]) == (550, b"5.7.1")


def test_size(tmp_path: Path) -> None:
    with gateway(tmp_path, {"max_size": "100KB"}) as mx:
        with mx.client() as client:
            status, words = client.docmd("MAIL", "FROM:<a@b> SIZE=100001")
            assert (status, words[:5]) == (552, b"5.3.4")
            client.mail("anna@example.co.il")
            client.rcpt("039876543@fax.local")
            status, words = client.data(b"x" * 76 + b"\r\n" + (b"x" * 76 + b"\r\n") * 2000)
            assert (status, words[:5]) == (552, b"5.3.4")
            assert mx.files() == []
            client.mail("anna@example.co.il")
            client.rcpt("039876543@fax.local")
            assert client.data(MAIL)[0] == 250
        line = talk(mx.port, b"EHLO x", b"MAIL FROM:<a@b>", b"RCPT TO:<039876543@fax.local>", b"DATA")
        block = (b"x" * 76 + b"\r\n") * 1000
        answer = b""
        try:
            for _ in range(60):
                line.sendall(block)
            answer = read(line)
        except OSError:
            answer = b"421 cut"
        assert answer.startswith(b"421")
        line.close()
        until(lambda: len(mx.files()) == 1)


@pytest.mark.parametrize(
    "fake", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\n\n.\r\n", b"\r\n\x00.\r\n"]
)
def test_no_variant_of_the_end_makes_two_mails(tmp_path: Path, fake: bytes) -> None:
    with gateway(tmp_path) as mx:
        line = talk(mx.port, b"EHLO x", b"MAIL FROM:<a@b>", b"RCPT TO:<039876543@fax.local>", b"DATA")
        smuggled = b"MAIL FROM:<evil@x>\r\nRCPT TO:<0501234567@fax.local>\r\nDATA\r\nevil"
        line.sendall(MAIL + fake + smuggled + b"\r\n.\r\nQUIT\r\n")
        answer = read(line)
        assert answer.startswith(b"250 2.0.0 queued as fax_")
        answer += read(line)
        assert answer.count(b"\r\n") == 2
        assert b"\n221" in answer
        line.close()
        assert [fax.number for fax in mx.faxes()] == ["+97239876543"]
        content = mx.files()[0].read_bytes()
        assert b"\n" not in content.replace(b"\r\n", b"")


def test_pipelined_mails_and_many_junk_commands(tmp_path: Path) -> None:
    one = b"MAIL FROM:<a@b>\r\nRCPT TO:<039876543@fax.local>\r\nDATA\r\n" + MAIL + b".\r\n"
    with gateway(tmp_path) as mx:
        line = talk(mx.port, b"EHLO x")
        line.sendall(one * 3 + b"QUIT\r\n")
        answer = b""
        while chunk := line.recv(65536):
            answer += chunk
        assert answer.count(b"250 2.0.0 queued") == 3
        line.close()
        line = talk(mx.port, b"EHLO x")
        line.sendall(b"WHAT\r\n" * 30)
        answer = b""
        while chunk := line.recv(65536):
            answer += chunk
        assert answer.count(b"500 ") == 10
        assert answer.splitlines()[-1].startswith(b"421 ")
        line.close()


def test_who_speaks_before_the_greeting_is_refused(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx:

        def rush() -> socket.socket:
            # In the service's own thread: the words are there before it can greet.
            line = socket.create_connection(("127.0.0.1", mx.port), timeout=20)
            line.sendall(b"EHLO x\r\nMAIL FROM:<a@b>\r\n")
            return line

        async def hurried() -> socket.socket:
            return rush()

        line = asyncio.run_coroutine_threadsafe(hurried(), mx.loop).result(10)
        assert line.recv(65536).startswith(b"554 ")
        assert line.recv(65536) == b""
        line.close()


def test_too_many_connections(tmp_path: Path) -> None:
    with gateway(tmp_path, {"max_connections_per_client": 2}) as mx:
        first, second = talk(mx.port), talk(mx.port)
        third = socket.create_connection(("127.0.0.1", mx.port), timeout=20)
        assert read(third).startswith(b"421 4.7.0 ")
        first.close()
        until(lambda: talk_once(mx.port).startswith(b"220"))
        second.close()
        third.close()


def test_who_hangs_up_before_the_greeting_leaves_its_place(tmp_path: Path) -> None:
    with gateway(tmp_path, {"max_connections_per_client": 1}) as mx:
        for _ in range(3):
            socket.create_connection(("127.0.0.1", mx.port), timeout=20).close()
            until(lambda: talk_once(mx.port).startswith(b"220"))


def talk_once(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        return read(line)


def test_silence_and_dripping_end_the_session(tmp_path: Path) -> None:
    with gateway(tmp_path, {"timeout": "500ms"}) as mx:
        line = talk(mx.port, b"EHLO x")
        assert read(line).startswith(b"421 4.4.2 ")
        line.close()
        line = talk(mx.port, b"EHLO x", b"MAIL FROM:<a@b>", b"RCPT TO:<039876543@fax.local>", b"DATA")
        line.settimeout(0.1)
        answer = b""
        for _ in range(60):
            try:
                line.sendall(b"x")
                answer += line.recv(4096)
                break
            except TimeoutError:
                continue
        assert answer.startswith(b"421 4.4.2 ")
        line.close()
        until(lambda: mx.files() == [])


def test_a_mistake_of_ours_tells_nothing(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx:

        def broken() -> None:
            raise RuntimeError("/secret/path")

        mx.judging = broken
        status, words = mx.send()
        assert (status, words[:5]) == (451, b"4.3.0")
        assert b"secret" not in words
        assert mx.files() == []

        def refuse() -> None:
            raise Refused("554 5.6.1 The file הצעה\r\n250 fake.doc cannot be faxed")

        mx.judging = refuse
        status, words = mx.send()
        assert (status, words[:5]) == (554, b"5.6.1")
        assert b"\n" not in words
        mx.judging = lambda: None
        assert mx.send()[0] == 250


def test_a_full_disk_is_told_as_such_without_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with gateway(tmp_path) as mx:

        def full(self: SpoolFile, data: bytes) -> None:
            raise StoreUnavailable("the spool cannot be written: No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(SpoolFile, "write", full)
            status, words = mx.send()
        assert (status, words[:5]) == (451, b"4.3.0")
        assert str(tmp_path).encode() not in words
        assert mx.files() == []
        assert mx.send()[0] == 250


def test_derived_content_lies_beside_the_mail(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx:
        mx.letter["derived"] = b"%PDF-page"
        assert mx.send()[0] == 250
        [fax] = mx.faxes()
        page, attached = fax.documents
        assert (page.name, attached.name) == ("page.pdf", "a.txt")
        assert mx.spool.path(page.path).read_bytes() == b"%PDF-page"
        assert mx.spool.path(page.path).with_suffix(".eml") == mx.files()[0]


def test_parts_that_are_passed_over_are_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log.setup("info", "json")
    with gateway(tmp_path) as mx:
        mx.letter["passed_over"] = ("logo.png", "smime.p7s")
        assert mx.send()[0] == 250
    log.setup("warning")
    assert '"passed_over": ["logo.png", "smime.p7s"]' in "".join(capsys.readouterr())


def test_derived_content_that_cannot_be_synced_leaves_neither_mail_nor_fax(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith(".derived"):
            raise OSError(5, "Input/output error")
        real(descriptor)

    with gateway(tmp_path) as mx:
        mx.letter["derived"] = b"%PDF-page"
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            assert mx.send()[1].startswith(b"4.3.0 ")
        assert [path for path in (mx.spool.root / "mail").rglob("*") if path.is_file()] == []
        assert mx.faxes() == []
        assert mx.send()[0] == 250


def test_the_same_mail_again_is_answered_with_the_first_id(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx:
        mx.letter["message_id"] = "<1@example.co.il>"
        first = mx.send()
        assert mx.send() == first
        assert len(mx.faxes()) == len(mx.files()) == 1
        assert mx.send(to="0501234567@fax.local")[1] != first[1]
        assert len(mx.faxes()) == 2


def test_a_mail_to_many_that_comes_again_is_answered_with_the_same_first_id(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx, mx.client() as client:
        replies = []
        for again in range(8):
            mx.letter["message_id"] = f"<{again // 2}@example.co.il>"
            client.mail("anna@example.co.il")
            for number in range(8):
                client.rcpt(f"03987654{number}@fax.local")
            replies.append(client.data(MAIL))
        assert all(b"and 7 more" in reply[1] for reply in replies)
        assert replies[::2] == replies[1::2]
        assert len(mx.faxes()) == 4 * 8


def test_a_client_that_leaves_during_the_commit(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx:
        go_on = threading.Event()
        mx.judging = lambda: go_on.wait(10)
        line = talk(mx.port, b"EHLO x", b"MAIL FROM:<a@b>", b"RCPT TO:<039876543@fax.local>", b"DATA")
        line.sendall(MAIL + b".\r\n")
        assert mx.letter_read.wait(10)
        line.close()
        go_on.set()
        until(lambda: len(mx.faxes()) == 1)
        assert len(mx.files()) == 1


def test_a_client_that_leaves_during_the_data(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx:
        line = talk(mx.port, b"EHLO x", b"MAIL FROM:<a@b>", b"RCPT TO:<039876543@fax.local>", b"DATA")
        line.sendall(b"x" * 500_000)
        until(lambda: len(mx.files()) == 1)
        line.close()
        until(lambda: mx.files() == [])
        assert mx.faxes() == []


def test_stopping_lets_a_mail_finish_and_sends_idlers_home(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx:
        idle = talk(mx.port, b"EHLO x")
        busy = talk(mx.port, b"EHLO x", b"MAIL FROM:<a@b>", b"RCPT TO:<039876543@fax.local>", b"DATA")
        mx.grace = 20.0
        mx.begin_stop()
        assert read(idle).startswith(b"421 ")
        busy.sendall(MAIL + b".\r\n")
        answer = b""
        while chunk := busy.recv(65536):
            answer += chunk
        assert answer.startswith(b"250 2.0.0 queued as fax_")
        idle.close()
        busy.close()


def test_stopping_cuts_off_who_does_not_finish(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx:
        mx.grace = 0.2
        line = talk(mx.port, b"EHLO x", b"MAIL FROM:<a@b>", b"RCPT TO:<039876543@fax.local>", b"DATA")
        mx.stop()
        assert read(line).startswith(b"421 4.3.2 ")
        line.close()
        assert mx.files() == []


USERS = {
    "anna": {"password_hash": HASH, "senders": ["anna@example.co.il"], "account": "second", "daily_limit": 2},
    "free": {"password_hash": HASH, "allow": ["US"]},
}


def test_login(tmp_path: Path) -> None:
    with gateway(tmp_path, {"auth": "required"}, user=USERS) as mx:
        with mx.client() as client:
            assert client.mail("anna@example.co.il")[0] == 530
            client.login("anna", "secret")
            status, words = client.mail("bob@example.co.il")
            assert (status, words[:5]) == (553, b"5.7.1")
            client.mail("anna@example.co.il")
            client.rcpt("039876543@fax.local")
            client.rcpt("0501234567@fax.local")
            assert client.rcpt("039876544@fax.local")[1][:5] == b"4.7.1"
            assert client.data(MAIL)[0] == 250
            client.mail("anna@example.co.il")
            assert client.rcpt("039876543@fax.local")[1][:5] == b"4.7.1"
        assert {fax.account for fax in mx.faxes()} == {"second"}
        with mx.client() as client:
            word = base64.b64encode(b"\0free\0secret").decode()
            assert client.docmd("AUTH", f"plain {word}")[0] == 235
            client.mail("x@y")
            assert client.rcpt("+12125551234@fax.local")[0] == 250
            assert client.rcpt("039876543@fax.local")[0] == 550


def test_the_daily_limit_holds_over_sessions_and_restarts(tmp_path: Path) -> None:
    def sent(mx: Gateway, number: str) -> bytes:
        with mx.client() as client:
            client.login("anna", "secret")
            client.mail("anna@example.co.il")
            status, words = client.rcpt(f"{number}@fax.local")
            return (client.data(MAIL) if status == 250 else (status, words))[1][:5]

    with gateway(tmp_path, user=USERS) as mx:
        assert sent(mx, "039876543") == b"2.0.0"
    with gateway(tmp_path, user=USERS) as mx, mx.client() as waiting:
        waiting.login("anna", "secret")
        waiting.mail("anna@example.co.il")
        assert waiting.rcpt("039876544@fax.local")[0] == 250
        assert sent(mx, "039876545") == b"2.0.0"
        # Its recipient was within the limit when it was named; by now another session has used it up.
        status, words = waiting.data(MAIL)
        assert (status, words[:5], b"midnight" in words) == (452, b"4.7.1", True)
        assert sent(mx, "039876546") == b"4.7.1"
        assert len(mx.faxes()) == 2
        assert len(mx.files()) == 2


def test_a_from_header_outside_the_users_senders(tmp_path: Path) -> None:
    with gateway(tmp_path, user=USERS) as mx, mx.client() as client:
        mx.letter["sender"] = "boss@example.co.il"
        client.login("anna", "secret")
        client.mail("anna@example.co.il")
        client.rcpt("039876543@fax.local")
        status, words = client.data(MAIL)
        assert (status, words[:5]) == (553, b"5.7.1")
        mx.letter.update(sender="anna@example.co.il", authors=("anna@example.co.il", "boss@example.co.il"))
        client.mail("anna@example.co.il")
        client.rcpt("039876543@fax.local")
        status, words = client.data(MAIL)
        assert (status, words[:5]) == (553, b"5.7.1")
        assert mx.files() == []


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_a_client_on_this_machine_is_one_on_a_socket_for_both_families_too(tmp_path: Path) -> None:
    both = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    with gateway(tmp_path, sockets=[both], user=USERS) as mx, mx.client() as client:
        assert client.has_extn("auth")
        client.login("anna", "secret")


def test_every_reply_has_the_enhanced_code_that_is_offered(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    with gateway(tmp_path, {"tls": {"certificate": certificate[0], "key": certificate[1]}}) as mx:
        line = talk(mx.port, b"EHLO x")
        for words in (b"NOOP", b"RSET x", b"RSET", b"EXPN x", b"JUNK", b"EHLO " + b"x" * 5000, b"STARTTLS"):
            line.sendall(words + b"\r\n")
            reply = read(line)
            assert reply[4:5] == reply[:1], reply
            assert reply[5:6] == b".", reply
        line.close()
        line = talk(mx.port)
        line.sendall(b"QUIT\r\n")
        assert read(line).startswith(b"221 2.0.0 ")
        line.close()


def test_the_third_wrong_password_ends_the_session(tmp_path: Path) -> None:
    with gateway(tmp_path, user=USERS) as mx:
        line = talk(mx.port, b"EHLO x")
        took = []
        for name in (b"anna", b"nobody", b"anna"):
            begun = time.monotonic()
            line.sendall(b"AUTH PLAIN " + base64.b64encode(b"\0" + name + b"\0wrong") + b"\r\n")
            answer = read(line)
            took.append(time.monotonic() - begun)
            assert answer.startswith(b"535 5.7.8 " if len(took) < 3 else b"421 4.7.0 ")
        assert took[0] >= 0.2
        assert took[1] >= 0.4
        assert took[2] >= 0.8
        line.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    scripted_servers.certificate(folder)
    return folder / "cert.pem", folder / "key.pem"


def test_starttls_and_implicit_tls(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    tls = {"certificate": certificate[0], "key": certificate[1], "listen": ["127.0.0.1:0"]}
    trust = ssl.create_default_context(cafile=str(certificate[0]))
    with gateway(tmp_path, {"tls": tls, "auth": "required"}, user=USERS) as mx:
        with smtplib.SMTP("127.0.0.1", mx.port, timeout=20) as client:
            client.ehlo()
            assert client.has_extn("starttls")
            client.starttls(context=trust)
            client.ehlo()
            assert not client.has_extn("starttls")
            client.login("anna", "secret")
            client.sendmail("anna@example.co.il", ["039876543@fax.local"], MAIL * 4000)
        with smtplib.SMTP_SSL("127.0.0.1", mx.addresses[1][1], context=trust, timeout=20) as client:
            client.ehlo()
            assert not client.has_extn("starttls")
            client.login("anna", "secret")
            client.sendmail("anna@example.co.il", ["0501234567@fax.local"], MAIL)
        assert len(mx.faxes()) == 2
        assert sorted(len(path.read_bytes()) for path in mx.files()) == [len(MAIL), len(MAIL) * 4000]


def test_what_is_said_after_starttls_in_clear_is_forgotten(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    tls = {"certificate": certificate[0], "key": certificate[1]}
    with gateway(tmp_path, {"tls": tls}) as mx:
        line = talk(mx.port, b"EHLO x")
        line.sendall(b"STARTTLS\r\nMAIL FROM:<injected@x>\r\n")
        assert read(line).startswith(b"220 ")
        context = ssl.create_default_context(cafile=str(certificate[0]))
        with context.wrap_socket(line, server_hostname="127.0.0.1") as inside:
            inside.sendall(b"RCPT TO:<039876543@fax.local>\r\n")
            assert read(inside).startswith(b"503 ")


def test_a_client_that_cannot_do_tls_is_no_failure_of_ours(
    tmp_path: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(log, "session_crashed", lambda *_, error: told.append(error))
    monkeypatch.setattr(log, "tls_handshake_failed", lambda *_, **__: told.append("TLS handshake failed"))
    with gateway(tmp_path, {"tls": {"certificate": certificate[0], "key": certificate[1]}}) as mx:
        talk(mx.port, b"EHLO x", b"STARTTLS").close()
        until(lambda: bool(told))
    assert told == ["TLS handshake failed"]


def run(command: list[str], **more: Any) -> subprocess.CompletedProcess[bytes]:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    return subprocess.run(command, capture_output=True, timeout=30, **more)


def test_curl(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx:
        (tmp_path / "mail").write_bytes(MAIL * 2000)
        command = ["curl", "-sv", f"smtp://127.0.0.1:{mx.port}/client.test", "--mail-from", "anna@example.co.il"]
        done = run([*command, "--mail-rcpt", "03-9876543@fax.local", "-T", str(tmp_path / "mail")])
        assert done.returncode == 0, done.stderr
        assert mx.files()[0].read_bytes() == MAIL * 2000


def test_swaks(tmp_path: Path) -> None:
    with gateway(tmp_path, user=USERS) as mx:
        command = ["swaks", "--server", f"127.0.0.1:{mx.port}", "--from", "anna@example.co.il", "--to", "039876543@fax.local"]
        done = run([*command, "--auth", "LOGIN", "--auth-user", "anna", "--auth-password", "secret", "--pipeline"])
        assert done.returncode == 0, done.stdout
        assert b"queued as fax_" in done.stdout
        assert [fax.account for fax in mx.faxes()] == ["second"]


def test_msmtp(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx:
        command = ["msmtp", "--host=127.0.0.1", f"--port={mx.port}", "--from=anna@example.co.il", "03-9876543@fax.local"]
        done = run(command, input=MAIL.replace(b"\r\n", b"\n"))
        assert done.returncode == 0, done.stderr
        assert len(mx.faxes()) == 1


CONTACTS = {
    "leumi": "03-9876543",
    "hapoalim": "03-9876544",
    "clalit": "04-8765432",
    "banks": ["leumi", "hapoalim"],
    "בנק": "03-9876545",
}


def test_a_contact_is_a_recipient_and_a_list_is_several(tmp_path: Path) -> None:
    with gateway(tmp_path, contacts=CONTACTS) as mx:
        with mx.client() as client:
            client.mail("anna@example.co.il")
            assert client.rcpt("Banks@fax.local")[0] == 250
            assert client.rcpt("leumi@fax.local")[0] == 250
            assert client.rcpt("clalit@fax.local")[0] == 250
            assert client.data(MAIL)[0] == 250
        numbers = ["+97239876543", "+97239876544", "+97248765432"]
        assert sorted(fax.number for fax in mx.faxes()) == numbers


def test_a_contact_in_hebrew(tmp_path: Path) -> None:
    with gateway(tmp_path, contacts=CONTACTS) as mx:
        line = talk(mx.port, b"EHLO x", b"MAIL FROM:<anna@example.co.il> SMTPUTF8")
        line.sendall("RCPT TO:<בנק@fax.local>\r\n".encode())
        assert read(line).startswith(b"250 ")
        line.sendall("RCPT TO:<בנקק@fax.local>\r\n".encode())
        assert "did you mean בנק?" in read(line).decode()
        line.close()


def test_an_unknown_contact_is_refused_with_the_nearest_and_those_that_may_not_be_faxed(tmp_path: Path) -> None:
    contacts = {**CONTACTS, "votes": "1-900-123456", "mixed": ["leumi", "votes"]}
    with gateway(tmp_path, contacts=contacts) as mx, mx.client() as client:
        client.mail("anna@example.co.il")
        assert client.rcpt("hapoallim@fax.local") == (
            550,
            b"5.1.1 No contact here has the name hapoallim; did you mean hapoalim?",
        )
        assert client.rcpt("mixed@fax.local")[1][:5] == b"5.7.1"
        assert client.docmd("DATA")[0] == 503


def test_the_numbers_of_a_list_count_as_recipients_and_to_the_daily_limit(tmp_path: Path) -> None:
    with gateway(tmp_path, {"max_recipients": 2}, contacts=CONTACTS, user=USERS) as mx, mx.client() as client:
        client.mail("anna@example.co.il")
        assert client.rcpt("clalit@fax.local")[0] == 250
        status, words = client.rcpt("banks@fax.local")
        assert (status, words[:5]) == (452, b"4.5.3")
        assert client.rcpt("leumi@fax.local")[0] == 250
        assert client.data(MAIL)[0] == 250
        assert len(mx.faxes()) == 2
    with gateway(tmp_path / "limit", contacts={**CONTACTS, "all": ["banks", "clalit"]}, user=USERS) as mx, mx.client() as client:
        client.login("anna", "secret")
        client.mail("anna@example.co.il")
        assert client.rcpt("all@fax.local")[1][:5] == b"4.7.1"
        assert client.rcpt("banks@fax.local")[0] == 250


def test_send_takes_a_contact_but_no_list(tmp_path: Path) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield MAIL

    with gateway(tmp_path, contacts=CONTACTS) as mx:
        local = LocalSubmission(mx.service.admission, mx.service.acceptance, "fax.local", 10_000)

        def send(name: str) -> dict[str, Any]:
            sent = local.send(numbers=[name], sender="root@mx.test", body=body())
            return asyncio.run_coroutine_threadsafe(sent, mx.loop).result(20)

        assert send("Clalit")["reply"].startswith("250 2.0.0 queued as fax_")
        with pytest.raises(ControlError, match=r"^banks is a list of several numbers; send a mail to it"):
            send("banks")
        with pytest.raises(ControlError, match=r"^No contact here has the name clalitt; did you mean clalit\?"):
            send("clalitt")
        assert [fax.number for fax in mx.faxes()] == ["+97248765432"]
