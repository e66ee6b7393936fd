"""Hostile mail is read in child processes with limits: whatever a mail does to its reader, the daemon and other mails live on.

The children are started afresh with this module as their program, never forked from a daemon with threads. Both ways go
frames of a 4-byte length and JSON. A child ends when its standard input does, so none outlives the daemon.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import resource
import signal
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from pydantic import TypeAdapter, ValidationError

import mailbridge
from mailbridge.errors import Refused, StoreUnavailable
from mailbridge.submission.letter import Letter, read_letter

MEMORY = 1 << 30  # bytes of address space; a child at rest has about a third of it mapped
FILE_SIZE = 64_000_000  # bytes of a page that a child writes
SECONDS = 30.0  # for one mail
_LENGTH = struct.Struct("!I")
_MAX_ANSWER = 4_000_000
_REPLY = re.compile(r"5\d\d 5\.\d{1,3}\.\d{1,3} [^\r\n]{1,600}")
_BEYOND = "554 5.6.0 The mail cannot be read within limits"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a child is asked: one mail in the spool, and the mode of its page."""

    root: str
    path: str
    page: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a child answers, exactly one of the three: a letter, a refusal's reply, or why the disk did not take it."""

    letter: Letter | None = None
    refused: str | None = None
    unavailable: str | None = None


_QUESTION: Final = TypeAdapter(Question)
_ANSWER: Final = TypeAdapter(Answer)


class Judge:
    """Reads letters in child processes: `await judge(path)`. More calls than children wait for their turn."""

    def __init__(self, spool_root: Path, page: str, workers: int = 2, seconds: float = SECONDS) -> None:
        self._root, self._page, self._seconds = spool_root, page, seconds
        self._workers = [_Worker() for _ in range(workers)]
        self._idle: asyncio.Queue[_Worker] = asyncio.Queue()
        self._stopped = False
        self._renewals: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start the children. Raises OSError where none can be started."""
        for worker in self._workers:
            await worker.start()
            self._idle.put_nowait(worker)

    async def stop(self) -> None:
        """End the children; a mail that is just being read is given up."""
        self._stopped = True
        for renewal in self._renewals:
            renewal.cancel()
        await asyncio.gather(*self._renewals, return_exceptions=True)
        for worker in self._workers:
            await worker.kill()

    async def __call__(self, relpath: str) -> Letter:
        """Read the spooled mail at `relpath`.

        Raises Refused for a mail that cannot be faxed, also when its child died or took too long, and StoreUnavailable where the
        disk or the machine cannot do it now.
        """
        worker = await self._idle.get()
        healthy = False
        try:
            question = _QUESTION.dump_json(Question(root=str(self._root), path=relpath, page=self._page))
            await worker.start()
            async with asyncio.timeout(self._seconds):
                answer = _ANSWER.validate_json(await worker.ask(question))
            letter = _believe(answer, relpath)
            healthy = True
            return letter
        except (Refused, StoreUnavailable):
            healthy = True
            raise
        except (TimeoutError, EOFError, ConnectionError, ValidationError):
            raise Refused(_BEYOND) from None
        except OSError as error:
            raise StoreUnavailable(f"no process to read the mail can be started: {error.strerror}") from None
        finally:
            # Also after a cancellation: a child that still owes an answer must not give it to the next mail.
            if healthy:
                self._idle.put_nowait(worker)
            else:
                renewal = asyncio.create_task(self._renew(worker))
                self._renewals.add(renewal)
                renewal.add_done_callback(self._renewals.discard)

    async def _renew(self, worker: _Worker) -> None:
        await worker.kill()
        if self._stopped:
            return
        with contextlib.suppress(OSError):
            await worker.start()
        self._idle.put_nowait(worker)


def _believe(answer: Answer, relpath: str) -> Letter:
    """Return the answer's letter, or raise what it says; one that points elsewhere comes from a child that was taken over."""
    if answer.refused is not None:
        raise Refused(answer.refused if _REPLY.fullmatch(answer.refused) else _BEYOND)
    if answer.unavailable is not None:
        raise StoreUnavailable(answer.unavailable[:200])
    allowed = {relpath, str(Path(relpath).with_suffix(".page.pdf"))}
    if answer.letter is None:
        raise Refused(_BEYOND)
    for document in answer.letter.documents:
        if document.path not in allowed or min(document.offset, document.length, document.size) < 0 or "/" in document.name:
            raise Refused(_BEYOND)
    return answer.letter


class _Worker:
    """One child process."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start the child, unless it runs."""
        if self._process is not None and self._process.returncode is None:
            return
        package = str(Path(mailbridge.__file__).parents[1])
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "mailbridge.submission.judge",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,
            limit=_MAX_ANSWER,
        )

    async def ask(self, question: bytes) -> bytes:
        """Return the child's answer. Raises EOFError or ConnectionError where it died."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(_LENGTH.pack(len(question)) + question)
        await process.stdin.drain()
        (length,) = _LENGTH.unpack(await process.stdout.readexactly(_LENGTH.size))
        if length > _MAX_ANSWER:
            raise EOFError
        return await process.stdout.readexactly(length)

    async def kill(self) -> None:
        """End the child at once, and wait until it is gone."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        await process.wait()
        # The pipe is read to its end, so that it is closed before the loop is; a call that still waits for it does the same.
        with contextlib.suppress(RuntimeError):
            await process.stdout.read()


def judge(question: Question) -> Answer:
    """Read one mail in the child. Whatever its parser raises, memory and recursion included, is a mail that cannot be read."""
    try:
        return Answer(letter=read_letter(Path(question.root), question.path, question.page))
    except Refused as refused:
        return Answer(refused=refused.reply)
    except OSError as error:
        return Answer(unavailable=f"the spool cannot be used: {error.strerror}")
    except Exception:
        return Answer(refused=_BEYOND)


def serve(questions: BinaryIO, answers: BinaryIO) -> None:
    """Answer questions until there are no more."""
    while len(head := questions.read(_LENGTH.size)) == _LENGTH.size:
        question = _QUESTION.validate_json(questions.read(_LENGTH.unpack(head)[0]))
        # The daemon ends a child that takes too long; where the daemon itself is gone, the alarm does.
        signal.alarm(int(SECONDS) + 5)
        answer = judge(question)
        signal.alarm(0)
        try:
            frame = _ANSWER.dump_json(answer)
        except ValueError:
            frame = _ANSWER.dump_json(Answer(refused=_BEYOND))
        answers.write(_LENGTH.pack(len(frame)) + frame)
        answers.flush()


def main() -> None:
    """Be a child: take the limits, load what reads PDFs and pictures, and answer."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE, FILE_SIZE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A signal to the whole service is for the daemon, which ends its children when it has ended its sessions.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    # Whatever a library prints must not fall between the frames.
    os.dup2(2, 1)
    for heavy in ("pypdfium2", "PIL.Image", "PIL.TiffImagePlugin", "PIL.JpegImagePlugin", "PIL.PngImagePlugin"):
        __import__(heavy)
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
