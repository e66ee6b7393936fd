"""From DATA to the reply: a mail is stored as a whole or leaves nothing, whoever hangs up, fails or stops."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import socket
import struct
import threading
import weakref
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailbridge import log
from mailbridge.errors import Refused
from mailbridge.store.buffered_mail import MEMORY, SMALL
from mailbridge.submission.dot_decoder import DotDecoder
from tests.integration.smtp_fixtures import MAIL, connect, gateway, read_reply, until
from tests.wait_helpers import PATIENCE


def test_unexpected_error_is_answered_451_without_details(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx:

        def broken() -> None:
            raise RuntimeError("/secret/path")

        mx.while_reading = broken
        status, words = mx.send()
        assert (status, words[:5]) == (451, b"4.3.0")
        assert b"secret" not in words
        assert mx.files() == []

        def refuse() -> None:
            raise Refused("554 5.6.1 The file הצעה\r\n250 fake.doc cannot be faxed")

        mx.while_reading = refuse
        status, words = mx.send()
        assert (status, words[:5]) == (554, b"5.6.1")
        assert b"\n" not in words
        mx.while_reading = lambda: None
        assert mx.send()[0] == 250


def test_the_mail_after_an_unexpected_error_is_accepted_in_the_same_session(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx, mx.client() as client:

        def broken() -> None:
            raise RuntimeError("unexpected")

        mx.while_reading = broken
        for expected in (451, 250):
            assert client.docmd("MAIL FROM:<anna@example.co.il>")[0] == 250
            assert client.docmd("RCPT TO:<03-9876543@fax.local>")[0] == 250
            assert client.data(MAIL)[0] == expected
            mx.while_reading = lambda: None


def test_an_unexpected_error_in_the_data_ends_the_session_before_the_rest_is_read_as_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: DotDecoder, chunk: bytes) -> tuple[bytes, bytes | None]:
        raise MemoryError

    monkeypatch.setattr(DotDecoder, "feed", broken)
    with gateway(tmp_path) as mx:
        commands = (b"EHLO client.test", b"MAIL FROM:<anna@example.co.il>", b"RCPT TO:<03-9876543@fax.local>", b"DATA")
        with connect(mx.port, *commands) as client:
            client.sendall(b"Subject: x\r\n\r\nRSET\r\nNOOP\r\n")
            assert read_reply(client).startswith(b"421 4.3.0 ")
            assert client.recv(100) == b""
        assert mx.files() == []


def test_a_client_that_resets_the_connection_during_its_mail_leaves_no_session_in_memory(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx:
        commands = (b"EHLO client.test", b"MAIL FROM:<anna@example.co.il>", b"RCPT TO:<03-9876543@fax.local>", b"DATA")
        with connect(mx.port, *commands) as client:
            session = next(weakref.ref(each) for each in mx.service._active._sessions)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        until(lambda: gc.collect() >= 0 and session() is None)


def test_full_disk_is_answered_451_without_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with gateway(tmp_path) as mx:

        def full(*_: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/secret/path")

        for mail, call in ((MAIL, "pwritev"), (MAIL * 50_000, "write")):
            before = mx.files()
            with monkeypatch.context() as patch:
                patch.setattr(os, call, full)
                status, words = mx.send(mail)
            assert (status, words[:5]) == (451, b"4.3.0")
            assert b"/" not in words
            assert mx.files() == before
            assert not mx.spool.healthy
            assert mx.send()[0] == 250
            assert mx.spool.healthy


def test_derived_content_lies_beside_the_mail(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx:
        mx.letter["derived"] = b"%PDF-page"
        assert mx.send()[0] == 250
        [fax] = mx.faxes()
        page, attached = fax.documents
        assert (page.name, attached.name) == ("page.pdf", "a.txt")
        with mx.spool.open_document(page) as content:
            assert content.read() == b"%PDF-page"
        with mx.spool.open_document(attached) as content:
            assert content.read() == MAIL[:1]
        assert page.path == attached.path
        assert page.offset == len(MAIL)
        # Beside a large mail it is a file.
        assert mx.send(MAIL * 50_000)[0] == 250
        page, attached = mx.faxes()[0].documents
        assert mx.spool.path(page.path).read_bytes() == b"%PDF-page"
        assert mx.spool.path(page.path).with_suffix(".eml") == mx.spool.path(attached.path)


def test_a_small_mail_with_much_derived_content_has_files(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx:
        mx.letter["derived"] = bytes(SMALL)
        assert mx.send()[0] == 250
        [fax] = mx.faxes()
        page, attached = fax.documents
        assert sorted(path.suffix for path in mx.files()) == [".derived", ".eml"]
        for document, size in ((page, SMALL), (attached, 1)):
            with mx.spool.open_document(document) as content:
                assert len(content.read()) == size
        assert mx.spool.memory == MEMORY


def test_a_mail_that_is_announced_as_large_has_a_file_from_its_first_byte(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx:
        connection = connect(mx.port, b"EHLO x", b"MAIL FROM:<a@b> SIZE=1048577", b"RCPT TO:<039876543@fax.local>", b"DATA")
        connection.sendall(MAIL)
        until(lambda: [path.suffix for path in mx.files()] == [".eml"])
        assert mx.spool.memory == MEMORY
        connection.sendall(b".\r\n")
        assert read_reply(connection).startswith(b"250 ")
        connection.close()
        assert mx.mails() == [MAIL]


def test_mails_beyond_the_memory_that_they_share_have_files(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx:
        mx.spool.memory = len(MAIL)
        commands = (b"EHLO x", b"MAIL FROM:<a@b>", b"RCPT TO:<039876543@fax.local>", b"DATA")
        first, second = (connect(mx.port, *commands) for _ in range(2))
        first.sendall(MAIL)
        until(lambda: mx.spool.memory < len(MAIL))
        assert mx.files() == []
        second.sendall(MAIL)
        until(lambda: [path.suffix for path in mx.files()] == [".eml"])
        for connection in (first, second):
            connection.sendall(b".\r\n")
            assert read_reply(connection).startswith(b"250 ")
            connection.close()
        assert mx.mails() == [MAIL, MAIL]
        assert mx.spool.memory == len(MAIL)


def test_parts_that_are_passed_over_are_logged_and_stored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log.setup("info", "json")
    with gateway(tmp_path) as mx:
        mx.letter["passed_over"] = ("logo.png", "smime.p7s")
        assert mx.send()[0] == 250
        [fax] = mx.faxes()
        kept = asyncio.run_coroutine_threadsafe(
            mx.store.run(lambda tx: tx.submissions.passed_over(fax.envelope_id or "")), mx.loop
        )
        assert kept.result(10) == ["logo.png", "smime.p7s"]
    log.setup("warning")
    assert '"passed_over": ["logo.png", "smime.p7s"]' in "".join(capsys.readouterr())


def test_derived_content_that_cannot_be_synced_leaves_neither_mail_nor_fax(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith((".derived", ".segment")):
            raise OSError(5, "Input/output error")
        real(descriptor)

    with gateway(tmp_path) as mx:
        mx.letter["derived"] = b"%PDF-page"
        for mail in (MAIL, MAIL * 50_000):
            with monkeypatch.context() as patch:
                patch.setattr(os, "fsync", fsync)
                assert mx.send(mail)[1].startswith(b"4.3.0 ")
            assert mx.files() == []
            assert mx.faxes() == []
        assert mx.send()[0] == 250


def test_repeated_mail_is_answered_with_the_first_id(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx:
        mx.letter["message_id"] = "<1@example.co.il>"
        first = mx.send()
        assert mx.send() == first
        assert len(mx.faxes()) == len(mx.mails()) == len(mx.files()) == 1
        assert mx.send(to="0501234567@fax.local")[1] != first[1]
        assert len(mx.faxes()) == 2


def test_repeated_mail_to_many_is_answered_with_the_same_first_id(tmp_path: Path) -> None:
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


def test_client_that_hangs_up_during_the_commit_has_its_fax(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx:
        go_on = threading.Event()
        mx.while_reading = lambda: go_on.wait(PATIENCE)
        connection = connect(mx.port, b"EHLO x", b"MAIL FROM:<a@b>", b"RCPT TO:<039876543@fax.local>", b"DATA")
        connection.sendall(MAIL + b".\r\n")
        assert mx.letter_read.wait(PATIENCE)
        connection.close()
        go_on.set()
        until(lambda: len(mx.faxes()) == 1)
        assert len(mx.mails()) == 1


def test_client_that_hangs_up_during_the_data_leaves_nothing(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx:
        connection = connect(mx.port, b"EHLO x", b"MAIL FROM:<a@b>", b"RCPT TO:<039876543@fax.local>", b"DATA")
        connection.sendall(b"x" * 2_000_000)
        until(lambda: len(mx.files()) == 1)
        connection.close()
        until(lambda: mx.files() == [])
        assert mx.faxes() == []


def test_stop_lets_a_mail_finish_and_closes_idle_sessions(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx:
        idle = connect(mx.port, b"EHLO x")
        busy = connect(mx.port, b"EHLO x", b"MAIL FROM:<a@b>", b"RCPT TO:<039876543@fax.local>", b"DATA")
        mx.grace = 20.0
        mx.begin_stop()
        assert read_reply(idle).startswith(b"421 ")
        busy.sendall(MAIL + b".\r\n")
        answer = b""
        while chunk := busy.recv(65536):
            answer += chunk
        assert answer.startswith(b"250 2.0.0 queued as fax_")
        idle.close()
        busy.close()


def test_stop_ends_unfinished_data_with_421(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx:
        mx.grace = 0.2
        connection = connect(mx.port, b"EHLO x", b"MAIL FROM:<a@b>", b"RCPT TO:<039876543@fax.local>", b"DATA")
        mx.stop()
        assert read_reply(connection).startswith(b"421 4.3.2 ")
        connection.close()
        assert mx.files() == []


@pytest.mark.parametrize(
    ("ahead", "accepted"), [(timedelta(days=364), True), (timedelta(days=367), False), (timedelta(days=10**6), False)]
)
def test_attack_16_a_fax_is_sent_at_most_a_year_ahead(tmp_path: Path, ahead: timedelta, accepted: bool) -> None:
    with gateway(tmp_path) as mx:
        mx.letter["send_at"] = datetime.now(UTC) + ahead
        status, words = mx.send()
        assert (status, len(mx.faxes()), len(mx.mails())) == ((250, 1, 1) if accepted else (554, 0, 0))
        assert accepted or words == (
            b"5.6.0 The time in X-Mailbridge-Send-At is more than a year away; send the mail again nearer to it"
        )
