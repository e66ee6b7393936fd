"""Hostile mail is read in child processes with limits: whatever a mail does to its reader, the daemon and other mails live on.

The children are started afresh with `submission.worker` as their program, never forked from a daemon with threads. A child ends
when its standard input does, so none outlives the daemon.

A child is handed a few mails before it has answered the first, so that it need not wait for a busy daemon's next turn. It reads
them one by one; when one kills it, that one is refused and the others are read by its successor.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from collections import deque
from pathlib import Path

from pydantic import ValidationError

import mailbridge
from mailbridge.errors import Refused, StoreUnavailable
from mailbridge.model import EXTERNAL
from mailbridge.submission.letter import Letter
from mailbridge.submission.worker import ANSWER, BEYOND, LENGTH, QUESTION, SECONDS, Answer, Question, frame

DEPTH = 4  # mails handed to one child; those behind a slow one wait for it
_MAX_ANSWER = 4_000_000
_REPLY = re.compile(r"5\d\d 5\.\d{1,3}\.\d{1,3} [^\r\n]{1,600}")


class _Call:
    """One mail to be read, and the promise of its letter."""

    __slots__ = ("frame", "letter", "path")

    def __init__(self, question: Question) -> None:
        self.path = question.path
        self.frame = frame(QUESTION.dump_json(question))
        self.letter: asyncio.Future[Letter] = asyncio.get_running_loop().create_future()

    def fail(self, error: Exception) -> None:
        if not self.letter.done():
            self.letter.set_exception(error)


class LetterReader:
    """Reads letters in child processes: `await reader(path)`. More calls than the children take wait for their turn."""

    def __init__(self, spool_root: Path, page: str, workers: int = 2, seconds: float = SECONDS) -> None:
        self._root, self._page, self._seconds = str(spool_root), page, seconds
        self._workers = [_Worker() for _ in range(workers)]
        self._waiting: deque[_Call] = deque()
        self._serving: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start the children. Raises OSError where none can be started."""
        for worker in self._workers:
            await worker.start()
        self._serving = [asyncio.create_task(self._serve(worker)) for worker in self._workers]

    async def stop(self) -> None:
        """End the children; what is not read by now is given up."""
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        for worker in self._workers:
            await worker.kill()
        for call in (*self._waiting, *(call for worker in self._workers for call in worker.calls)):
            call.fail(StoreUnavailable("the gateway is closing"))

    async def __call__(self, relpath: str) -> Letter:
        """Read the spooled mail at `relpath`.

        Raises Refused for a mail that cannot be faxed, also when its child died or took too long, and StoreUnavailable where the
        disk or the machine cannot do it now.
        """
        call = _Call(Question(root=self._root, path=relpath, page=self._page))
        self._waiting.append(call)
        self._hand_out()
        try:
            return await call.letter
        except asyncio.CancelledError:
            for worker in self._workers:
                worker.give_up(call)
            raise

    def _hand_out(self) -> None:
        """Give what waits to the children that have the least to do."""
        while self._waiting:
            worker = min(self._workers, key=lambda worker: len(worker.calls))
            if len(worker.calls) >= DEPTH:
                return
            call = self._waiting.popleft()
            if not call.letter.done():
                worker.hand_over(call)

    async def _serve(self, worker: _Worker) -> None:
        """Fulfil the calls of one child, in the order in which it reads them."""
        while True:
            call = await worker.first()
            try:
                letter = await self._answer(worker, call)
            except (Refused, StoreUnavailable) as error:
                call.fail(error)
            else:
                if not call.letter.done():
                    call.letter.set_result(letter)
            worker.calls.popleft()
            self._hand_out()

    async def _answer(self, worker: _Worker, call: _Call) -> Letter:
        try:
            await worker.start()
            async with asyncio.timeout(self._seconds):
                answer = ANSWER.validate_json(await worker.read())
        except (TimeoutError, EOFError, ConnectionError, ValidationError):
            await worker.kill()
            raise Refused(BEYOND) from None
        except OSError as error:
            raise StoreUnavailable(f"no process to read the mail can be started: {error.strerror}") from None
        return _believe(answer, call.path)


def _believe(answer: Answer, relpath: str) -> Letter:
    """Return the answer's letter, or raise what it says; one that points elsewhere comes from a child that was taken over."""
    if answer.refused is not None:
        raise Refused(answer.refused if _REPLY.fullmatch(answer.refused) else BEYOND)
    if answer.unavailable is not None:
        raise StoreUnavailable(answer.unavailable[:200])
    allowed = {relpath, str(Path(relpath).with_suffix(".page.pdf"))}
    if answer.letter is None:
        raise Refused(BEYOND)
    for d in answer.letter.documents:
        if d.path not in allowed or min(d.offset, d.length, d.size) < 0 or ("/" in d.name and d.content_type != EXTERNAL):
            raise Refused(BEYOND)
    return answer.letter


class _Worker:
    """One child process, and the calls handed to it: it reads the first of them."""

    def __init__(self) -> None:
        self.calls: deque[_Call] = deque()
        self._filled = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start the child, unless it runs, and hand it every call anew."""
        if self._process is not None and self._process.returncode is None:
            return
        package = str(Path(mailbridge.__file__).parents[1])
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "mailbridge.submission.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,
            limit=_MAX_ANSWER,
        )
        for call in self.calls:
            self._write(call)

    def hand_over(self, call: _Call) -> None:
        """Add a call. A child that is not there gets it when it starts."""
        self.calls.append(call)
        self._filled.set()
        if self._process is not None and self._process.returncode is None:
            self._write(call)

    async def first(self) -> _Call:
        """Return the call that the child is to answer next, once there is one."""
        while not self.calls:
            self._filled.clear()
            await self._filled.wait()
        return self.calls[0]

    def give_up(self, call: _Call) -> None:
        """End a child that is reading what nobody waits for any more."""
        if self.calls and self.calls[0] is call and self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def read(self) -> bytes:
        """Return the child's next answer. Raises EOFError where it died."""
        assert self._process is not None
        assert self._process.stdout is not None
        (length,) = LENGTH.unpack(await self._process.stdout.readexactly(LENGTH.size))
        if length > _MAX_ANSWER:
            raise EOFError
        return await self._process.stdout.readexactly(length)

    async def kill(self) -> None:
        """End the child at once, and wait until it is gone."""
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        await process.wait()
        # The pipe is read to its end, so that it is closed before the loop is.
        await process.stdout.read()
        self._process = None

    def _write(self, call: _Call) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(call.frame)
