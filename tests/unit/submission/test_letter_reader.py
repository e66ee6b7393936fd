"""The children: a mail that kills its reader is refused, and the next mail is read."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mailbridge.errors import Refused, StoreUnavailable
from mailbridge.submission import letter_reader as parent
from mailbridge.submission import worker
from mailbridge.submission.letter import Letter
from mailbridge.submission.letter_reader import LetterReader
from mailbridge.submission.worker import Answer

MAIL = b"From: a@b.co\nSubject: s\nX-Mailbridge-Tag: k=v\n\nhello\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "mail").mkdir()
    (tmp_path / "mail" / "a.eml").write_bytes(MAIL)
    return tmp_path


def children(reader: LetterReader) -> list[int]:
    return [worker._process.pid for worker in reader._workers if worker._process is not None]


def test_letters_that_are_asked_for_at_once_come_back_whole(root: Path) -> None:
    async def run() -> None:
        reader = LetterReader(root, "auto", workers=2)
        await reader.start()
        try:
            letters = await asyncio.gather(*[reader("mail/a.eml") for _ in range(6)])
        finally:
            await reader.stop()
        for letter in letters:
            assert (letter.sender, letter.subject, letter.tags) == ("a@b.co", "s", {"k": "v"})
            assert [document.path for document in letter.documents] == ["mail/a.page.pdf"]
            assert (root / "mail/a.page.pdf").stat().st_size == letter.documents[0].size

    asyncio.run(run())


def test_a_refusal_of_the_child_reaches_the_caller(root: Path) -> None:
    (root / "mail" / "b.eml").write_bytes(b"From: a@b.co\n\n\n")

    async def run() -> None:
        reader = LetterReader(root, "auto", workers=1)
        await reader.start()
        try:
            with pytest.raises(Refused, match="nothing to fax"):
                await reader("mail/b.eml")
            assert (await reader("mail/a.eml")).sender == "a@b.co"
        finally:
            await reader.stop()

    asyncio.run(run())


def test_a_child_that_dies_or_hangs_costs_its_own_mail_alone(root: Path) -> None:
    async def run() -> None:
        reader = LetterReader(root, "auto", workers=1, seconds=10)
        await reader.start()
        try:
            (first,) = children(reader)
            os.kill(first, signal.SIGSTOP)
            reader._seconds = 0.2
            with pytest.raises(Refused, match="within limits"):
                await reader("mail/a.eml")
            reader._seconds = 20
            assert (await reader("mail/a.eml")).subject == "s"
            (second,) = children(reader)
            os.kill(second, signal.SIGSTOP)
            waiting = asyncio.create_task(reader("mail/a.eml"))
            await asyncio.sleep(0)
            os.kill(second, signal.SIGKILL)
            with pytest.raises(Refused, match="within limits"):
                await waiting
            assert (await reader("mail/a.eml")).subject == "s"
            assert len({first, second, *children(reader)}) == 3
        finally:
            await reader.stop()

    asyncio.run(run())


def test_a_cancelled_caller_leaves_no_answer_for_the_next(root: Path) -> None:
    async def run() -> None:
        (root / "mail" / "b.eml").write_bytes(MAIL.replace(b"Subject: s", b"Subject: other"))
        reader = LetterReader(root, "auto", workers=1)
        await reader.start()
        try:
            os.kill(children(reader)[0], signal.SIGSTOP)
            first = asyncio.create_task(reader("mail/b.eml"))
            await asyncio.sleep(0)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            assert (await reader("mail/a.eml")).subject == "s"
        finally:
            await reader.stop()

    asyncio.run(run())


def test_a_child_whose_daemon_was_killed_ends_without_a_word(root: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "mailbridge.submission.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    question = worker.QUESTION.dump_json(worker.Question(root=str(root), path="mail/a.eml", page="auto"))
    assert process.communicate(worker.frame(question), timeout=30)[1] == b""
    assert process.returncode == 0


def test_children_ignore_signals_to_the_service_and_end_with_their_input(root: Path) -> None:
    async def run() -> None:
        reader = LetterReader(root, "auto", workers=1)
        await reader.start()
        try:
            await reader("mail/a.eml")
            process = reader._workers[0]._process
            assert process is not None
            assert process.stdin is not None
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGTERM)
            assert (await reader("mail/a.eml")).subject == "s"
            process.stdin.close()
            assert await asyncio.wait_for(process.wait(), 20) == 0
        finally:
            await reader.stop()

    asyncio.run(run())


def test_what_a_parser_raises_is_a_mail_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (MemoryError(), RecursionError(), KeyError("x")):

        def broken(*_: object, error: Exception = error) -> Letter:
            raise error

        monkeypatch.setattr(worker, "read_letter", broken)
        answer = worker.read(worker.Question(root="/", path="a", page="auto"))
        assert answer.refused == "554 5.6.0 The mail cannot be read within limits"


def test_an_answer_that_points_elsewhere_is_not_believed() -> None:
    from mailbridge.model import Document

    document = Document(
        name="a.pdf", content_type="application/pdf", size=1, sha256="", path="mail/other.eml", offset=0, length=1
    )
    letter = Letter(message_id=None, subject="", sender=None, documents=(document,))
    with pytest.raises(Refused, match="within limits"):
        parent._believe(Answer(letter=letter), "mail/a.eml")
    with pytest.raises(Refused, match="within limits"):
        parent._believe(Answer(refused="250 OK\r\n"), "mail/a.eml")


def test_mails_behind_one_that_kills_its_child_are_read_all_the_same(root: Path) -> None:
    async def run() -> None:
        for number in range(5):
            (root / "mail" / f"{number}.eml").write_bytes(MAIL.replace(b"Subject: s", b"Subject: %d" % number))
        reader = LetterReader(root, "auto", workers=1)
        await reader.start()
        try:
            (first,) = children(reader)
            os.kill(first, signal.SIGSTOP)
            calls = [asyncio.create_task(reader(f"mail/{number}.eml")) for number in range(5)]
            await asyncio.sleep(0)
            calls[2].cancel()
            os.kill(first, signal.SIGKILL)
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
        finally:
            await reader.stop()
        assert isinstance(outcomes[0], Refused)
        assert isinstance(outcomes[2], asyncio.CancelledError)
        assert [letter.subject for letter in outcomes if isinstance(letter, Letter)] == ["1", "3", "4"]

    asyncio.run(run())


def test_what_is_not_read_when_the_judge_stops_may_come_again(root: Path) -> None:
    async def run() -> None:
        reader = LetterReader(root, "auto", workers=1)
        await reader.start()
        os.kill(children(reader)[0], signal.SIGSTOP)
        calls = [asyncio.create_task(reader("mail/a.eml")) for _ in range(6)]
        await asyncio.sleep(0)
        await reader.stop()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 6
        assert children(reader) == []

    asyncio.run(run())
