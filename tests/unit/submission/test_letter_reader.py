"""The letter reader and its workers: a mail that kills its worker is refused, and the next mail is read."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mailbridge.errors import Refused, StoreUnavailable
from mailbridge.model import Document
from mailbridge.page.confirmation_text import ConfirmationText
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.spool_paths import file_of
from mailbridge.submission import worker, worker_shares
from mailbridge.submission.letter.letter import Letter
from mailbridge.submission.letter_reader import LetterReader, checked_letter
from mailbridge.submission.worker_protocol import MAX_INLINE, READY_SIZE, LetterRequest, Response, ready_frame, send_request
from tests.wait_helpers import PATIENCE, until

MAIL = b"From: a@b.co\nSubject: s\nX-Mailbridge-Tag: k=v\n\nhello\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "mail").mkdir()
    (tmp_path / "mail" / "a.eml").write_bytes(MAIL)
    return tmp_path


def pids(reader: LetterReader) -> list[int]:
    return [worker.pid for worker in reader._workers if worker.pid is not None]


def open_files(directory: Path) -> list[str]:
    """Return the files below a directory that this process has open."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(str(entry.readlink()))
    return [path for path in found if path.startswith(f"{directory}/")]


def test_mails_read_at_once_yield_complete_letters(root: Path) -> None:
    async def run() -> None:
        reader = LetterReader(LocalSpool(root), "auto", workers=2)
        await reader.start()
        try:
            letters = await asyncio.gather(*[reader("mail/a.eml") for _ in range(6)])
        finally:
            await reader.stop()
        for letter in letters:
            assert (letter.sender, letter.subject, letter.tags) == ("a@b.co", "s", {"k": "v"})
            (page,) = letter.documents
            assert (page.path, page.size) == ("mail/a.derived", len(letter.derived))
            assert hashlib.sha256(letter.derived).hexdigest() == page.sha256

    asyncio.run(run())


def test_held_a_pdf_of_brackets_costs_its_own_mail_alone(root: Path) -> None:
    """Reading it takes more stack than a process has, or more time than a mail may take."""
    head = b"From: a@b.co\nContent-Type: application/pdf; name=a.pdf\nContent-Transfer-Encoding: binary\n\n"
    (root / "mail" / "evil.eml").write_bytes(head + b"%PDF-1.4\n1 0 obj\n" + b"[" * 18_000_000)

    async def run() -> None:
        reader = LetterReader(LocalSpool(root), "auto", workers=1)
        await reader.start()
        try:
            with pytest.raises(Refused, match=r"^554 5\.6\."):
                await reader("mail/evil.eml", client="evil")
            assert (await reader("mail/a.eml", client="quiet")).sender == "a@b.co"
        finally:
            await reader.stop()

    asyncio.run(run())


def test_a_refusal_by_the_worker_reaches_the_caller(root: Path) -> None:
    (root / "mail" / "b.eml").write_bytes(b"From: a@b.co\n\n\n")

    async def run() -> None:
        reader = LetterReader(LocalSpool(root), "auto", workers=1)
        await reader.start()
        try:
            with pytest.raises(Refused, match="nothing to fax"):
                await reader("mail/b.eml")
            assert (await reader("mail/a.eml")).sender == "a@b.co"
        finally:
            await reader.stop()

    asyncio.run(run())


def test_a_worker_that_dies_or_hangs_costs_only_its_own_mail(root: Path) -> None:
    """Each mail is of another client: one whose mail killed its worker rests."""

    async def run() -> None:
        reader = LetterReader(LocalSpool(root), "auto", workers=1, seconds=10)
        await reader.start()
        try:
            (first,) = pids(reader)
            os.kill(first, signal.SIGSTOP)
            reader._seconds = 0.2
            with pytest.raises(Refused, match="within the limits"):
                await reader("mail/a.eml")
            reader._seconds = PATIENCE
            assert (await reader("mail/a.eml", client="second")).subject == "s"
            (second,) = pids(reader)
            os.kill(second, signal.SIGSTOP)
            waiting = asyncio.create_task(reader("mail/a.eml", client="second"))
            await asyncio.sleep(0)
            os.kill(second, signal.SIGKILL)
            with pytest.raises(Refused, match="within the limits"):
                await waiting
            assert (await reader("mail/a.eml", client="third")).subject == "s"
            assert len({first, second, *pids(reader)}) == 3
        finally:
            await reader.stop()

    asyncio.run(run())


def test_a_cancelled_call_leaves_no_response_for_the_next(root: Path) -> None:
    async def run() -> None:
        (root / "mail" / "b.eml").write_bytes(MAIL.replace(b"Subject: s", b"Subject: other"))
        reader = LetterReader(LocalSpool(root), "auto", workers=1)
        await reader.start()
        try:
            os.kill(pids(reader)[0], signal.SIGSTOP)
            first = asyncio.create_task(reader("mail/b.eml"))
            await asyncio.sleep(0)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            assert (await reader("mail/a.eml", client="other")).subject == "s"
        finally:
            await reader.stop()

    asyncio.run(run())


def test_a_client_whose_call_was_cancelled_does_not_rest(root: Path) -> None:
    """Somebody who leaves a page of the console must not delay the pages of everybody else."""

    async def run() -> None:
        reader = LetterReader(LocalSpool(root), "auto", workers=1)
        await reader.start()
        try:
            (first,) = pids(reader)
            os.kill(first, signal.SIGSTOP)
            left = asyncio.create_task(reader("mail/a.eml", client="same"))
            await asyncio.sleep(0)
            left.cancel()
            await asyncio.gather(left, return_exceptions=True)
            await until(lambda: not reader._workers[0].jobs)
            assert reader._waiting._rest("same", asyncio.get_running_loop().time()) == 0
            assert (await reader("mail/a.eml", client="same")).subject == "s"
        finally:
            await reader.stop()

    asyncio.run(run())


def test_a_cancelled_call_behind_one_that_killed_the_worker_leaves_no_file_open(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        worker_shares, "_QUICK", 1000.0
    )  # otherwise a first mail that a busy machine reads slowly is not followed

    async def run() -> None:
        reader = LetterReader(LocalSpool(root), "auto", workers=1)
        await reader.start()
        loop = asyncio.get_running_loop()
        now, skipped = loop.time, 0.0
        loop.time = lambda: now() + skipped  # type: ignore[method-assign]  # the client's rest is skipped
        try:
            assert (await reader("mail/a.eml", client="same")).subject == "s"
            (first,) = pids(reader)
            os.kill(first, signal.SIGSTOP)
            calls = [asyncio.create_task(reader("mail/a.eml", client="same")) for _ in range(3)]
            await asyncio.sleep(0)
            assert len(reader._workers[0].jobs) == 3
            os.kill(first, signal.SIGKILL)
            await asyncio.wait([calls[0]])
            calls[1].cancel()
            await asyncio.gather(calls[1], return_exceptions=True)
            skipped = 6.0
            assert (await calls[2]).subject == "s"
            assert not open_files(root)
        finally:
            await reader.stop()

    asyncio.run(run())


def test_a_worker_whose_daemon_was_killed_ends_silently(root: Path) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "mailbridge.submission.worker"]
    with ours, subprocess.Popen(command, stdin=theirs.fileno(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        theirs.close()
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(READY_SIZE) == ready_frame(process.pid)
        process.stdout.close()
        with (root / "mail" / "a.eml").open("rb") as mail:
            send_request(ours, LetterRequest(path="mail/a.eml", page_mode="auto"), [mail.fileno()])
        assert process.stderr.read() == b""
        assert process.wait(PATIENCE) == 0


def test_workers_ignore_signals_to_the_service_and_end_with_their_input(root: Path) -> None:
    async def run() -> None:
        reader = LetterReader(LocalSpool(root), "auto", workers=1)
        await reader.start()
        try:
            await reader("mail/a.eml")
            (pid,), connection = pids(reader), reader._workers[0]._connection
            assert connection is not None
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGTERM)
            assert (await reader("mail/a.eml")).subject == "s"
            assert pids(reader) == [pid]
            connection.close()
            await until(lambda: not reader._workers[0].runs)
        finally:
            await reader.stop()

    asyncio.run(run())


def test_a_worker_may_write_no_file(root: Path) -> None:
    async def run() -> None:
        reader = LetterReader(LocalSpool(root), "auto", workers=1)
        await reader.start()
        try:
            await reader("mail/a.eml")
            limits = Path(f"/proc/{pids(reader)[0]}/limits").read_text()
        finally:
            await reader.stop()
        assert re.search(r"^Max file size +0 +0 ", limits, re.MULTILINE)
        assert [path.name for path in root.rglob("*") if path.is_file()] == ["a.eml"]

    asyncio.run(run())


def test_an_error_of_a_parser_refuses_the_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (MemoryError(), RecursionError(), KeyError("x")):

        def broken(*_: object, error: Exception = error) -> Letter:
            raise error

        monkeypatch.setattr(worker, "read_letter", broken)
        response = worker.respond(LetterRequest(path="a", page_mode="auto"), [0])
        assert (
            response.refused
            == "554 5.6.0 The mail cannot be read within the limits of time and memory; send its files as one smaller PDF"
        )


@pytest.mark.parametrize(
    "change",
    [
        {"path": "mail/other.eml"},
        {"path": "mail/other.derived"},
        {"path": "../a.eml"},
        {"offset": -1},
        {"length": -1},
        {"size": -1},
        {"name": "../a.pdf"},
    ],
)
def test_a_response_that_leaves_its_mail_is_refused(change: dict[str, Any]) -> None:
    document = Document(name="a.pdf", content_type="application/pdf", size=1, sha256="", path="mail/a.eml", offset=0, length=1)
    letter = Letter(message_id=None, subject="", sender=None, documents=(document,))
    assert checked_letter(Response(letter=letter), "mail/a.eml") == letter
    with pytest.raises(Refused, match="within the limits"):
        checked_letter(Response(letter=replace(letter, documents=(replace(document, **change),))), "mail/a.eml")


@pytest.mark.parametrize(
    "change", [{"offset": 4}, {"length": 5, "size": 5}, {"size": 2}, {"encoding": "base64"}, {"path": "mail/b.derived"}]
)
def test_document_outside_of_the_derived_content_is_refused(change: dict[str, Any]) -> None:
    document = Document(name="a", content_type="application/pdf", size=4, sha256="", path="mail/a.derived", offset=3, length=4)
    letter = Letter(message_id=None, subject="", sender=None, documents=(document,), derived=b"%PDF-12")
    assert checked_letter(Response(letter=letter), "mail/a.eml") == letter
    with pytest.raises(Refused, match="within the limits"):
        checked_letter(Response(letter=replace(letter, documents=(replace(document, **change),))), "mail/a.eml")


def test_a_response_whose_reply_is_no_refusal_is_replaced() -> None:
    with pytest.raises(Refused, match="within the limits"):
        checked_letter(Response(refused="250 OK\r\n"), "mail/a.eml")


def test_mails_behind_one_that_kills_its_worker_are_read(root: Path) -> None:
    async def run() -> None:
        for number in range(5):
            (root / "mail" / f"{number}.eml").write_bytes(MAIL.replace(b"Subject: s", b"Subject: %d" % number))
        reader = LetterReader(LocalSpool(root), "auto", workers=1)
        await reader.start()
        loop = asyncio.get_running_loop()
        now, skipped = loop.time, 0.0
        loop.time = lambda: now() + skipped  # type: ignore[method-assign]  # the client's rest is skipped
        try:
            (first,) = pids(reader)
            os.kill(first, signal.SIGSTOP)
            calls = [asyncio.create_task(reader(f"mail/{number}.eml")) for number in range(5)]
            await asyncio.sleep(0)
            calls[2].cancel()
            os.kill(first, signal.SIGKILL)
            await asyncio.wait([calls[0]])
            skipped = 6.0
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
        finally:
            await reader.stop()
        assert isinstance(outcomes[0], Refused)
        assert isinstance(outcomes[2], asyncio.CancelledError)
        assert [letter.subject for letter in outcomes if isinstance(letter, Letter)] == ["1", "3", "4"]

    asyncio.run(run())


def test_mails_not_read_when_the_reader_stops_fail_temporarily(root: Path) -> None:
    async def run() -> None:
        reader = LetterReader(LocalSpool(root), "auto", workers=1)
        await reader.start()
        os.kill(pids(reader)[0], signal.SIGSTOP)
        calls = [asyncio.create_task(reader("mail/a.eml")) for _ in range(6)]
        await asyncio.sleep(0)
        await reader.stop()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 6
        assert pids(reader) == []

    asyncio.run(run())


def test_attack_5_one_clients_slow_mails_leave_a_worker_to_others(root: Path) -> None:
    async def run() -> None:
        reader = LetterReader(LocalSpool(root), "auto", workers=3)
        await reader.start()
        try:
            first, second, third = pids(reader)
            for pid in (first, second):
                os.kill(pid, signal.SIGSTOP)
            slow = [asyncio.create_task(reader("mail/a.eml", client="slow")) for _ in range(6)]
            await asyncio.sleep(0)
            for client in ("quiet", "other"):
                assert (await reader("mail/a.eml", client=client)).subject == "s"
            assert not any(task.done() for task in slow)
            assert pids(reader) == [first, second, third]
            for pid in (first, second):
                os.kill(pid, signal.SIGCONT)
            assert [letter.subject for letter in await asyncio.gather(*slow)] == ["s"] * 6
        finally:
            await reader.stop()

    asyncio.run(run())


def test_attack_5_a_client_whose_mail_ran_out_of_time_waits_and_others_do_not(root: Path) -> None:
    async def run() -> None:
        reader = LetterReader(LocalSpool(root), "auto", workers=2)
        await reader.start()
        loop = asyncio.get_running_loop()
        now, skipped = loop.time, 0.0
        loop.time = lambda: now() + skipped  # type: ignore[method-assign]  # the rest is skipped
        try:
            os.kill(pids(reader)[0], signal.SIGSTOP)
            slow = asyncio.create_task(reader("mail/a.eml", client="slow"))
            behind = asyncio.create_task(reader("mail/a.eml", client="slow"))
            await asyncio.sleep(0)
            os.kill(pids(reader)[0], signal.SIGKILL)
            with pytest.raises(Refused, match="within the limits"):
                await slow
            for _ in range(3):
                assert (await reader("mail/a.eml", client="quiet")).subject == "s"
            assert not behind.done()
            skipped = 6.0
            assert (await behind).subject == "s"
        finally:
            await reader.stop()

    asyncio.run(run())


def test_attack_5_the_processor_time_of_one_mail_is_limited(root: Path) -> None:
    program = (
        "import io, os, signal, socket\n"
        "from mailbridge.submission import worker\n"
        "from mailbridge.submission.worker_protocol import LetterRequest, send_request\n"
        "worker._SECONDS = 0.2\n"
        "def loop(*_, **__):\n"
        "    while True: pass\n"
        "worker.read_letter = loop\n"
        "ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
        "file = os.open('/dev/null', os.O_RDONLY)\n"
        "send_request(ours, LetterRequest(path='a', page_mode='auto'), [file])\n"
        "worker.serve(theirs, io.BytesIO())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (-signal.SIGPROF, "")
    assert worker.processor_seconds(0) == 5.0
    assert worker.processor_seconds(40_000_000) == 17.0


def test_processor_time_of_one_mail_does_not_end_the_worker_while_it_takes_the_next(root: Path) -> None:
    program = (
        "import io, socket, time\n"
        "from mailbridge.submission import worker\n"
        "from mailbridge.submission.worker_protocol import LetterRequest, Response\n"
        "worker._SECONDS = 0.2\n"
        "worker.respond = lambda *_: Response(refused='554 no')\n"
        "requests = iter([(LetterRequest(path='a', page_mode='auto'), [], b''), None])\n"
        "def receive(_):\n"
        "    ends = time.process_time() + 0.5\n"
        "    while time.process_time() < ends: pass\n"
        "    return next(requests)\n"
        "worker.receive_request = receive\n"
        "worker.serve(socket.socket(), io.BytesIO())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("more", [0, 1])
def test_mail_within_the_request_is_read_as_one_in_a_file(root: Path, more: int) -> None:
    async def run() -> None:
        spool = LocalSpool(root / "spool")
        reader = LetterReader(spool, "auto", workers=1)
        await reader.start()
        try:
            mail = spool.receive("env_1")
            mail.write(MAIL.ljust(MAX_INLINE + more, b"x"))
            with mail.source(MAX_INLINE) as source:
                assert isinstance(source, str if more else bytes)
                letter = await reader(source)
            (root / "spool" / "same.eml").write_bytes(MAIL.ljust(MAX_INLINE + more, b"x"))
            assert letter.content_digest == (await reader("same.eml")).content_digest
        finally:
            await reader.stop()

    asyncio.run(run())


def test_pages_of_a_mail_in_a_segment_are_shown_until_it_is_gone(root: Path) -> None:
    async def run() -> None:
        spool = LocalSpool(root / "spool")
        reader = LetterReader(spool, "auto", workers=1)
        await reader.start()
        try:
            mail = spool.receive("env_1")
            mail.write(MAIL)
            with mail.source(MAX_INLINE) as source:
                letter = await reader(source)
            await mail.store(letter.derived)
            mail.keep()
            [page] = map(mail.stored, letter.documents)
            with spool.open_document(page) as content:
                assert hashlib.sha256(content.read()).hexdigest() == page.sha256
            shown = await reader.picture(page, 1, 300, "dana")
            assert (shown.pages, (shown.page or b"")[:4]) == (1, b"\x89PNG")
            text = ConfirmationText(title="Delivered", rows=(("To", "+97239876543"),))
            assert len(await reader.confirmation(text, page, "user dana")) > len(
                await reader.confirmation(text, None, "user dana")
            )
            spool.path(file_of(page.path)).unlink()
            assert (await reader.picture(page, 1, 300, "dana")).not_shown == "deleted"
        finally:
            await reader.stop()

    asyncio.run(run())
