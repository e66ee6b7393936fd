"""The letter reader: reads mails in worker processes, so that a hostile mail harms neither the daemon nor other mails.

A mail that kills its worker, or takes too long, is refused; a new worker is started and reads on. Each worker has a few mails
assigned before it has answered the first, so that it does not wait for a busy daemon; it reads them one by one.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections import deque
from pathlib import Path

from mailbridge.errors import Refused, StoreUnavailable
from mailbridge.model import EXTERNAL, Document
from mailbridge.store.spool import derived_path
from mailbridge.submission.letter.letter import Letter
from mailbridge.submission.worker_process import Job, WorkerProcess
from mailbridge.submission.worker_protocol import MAX_SECONDS, UNREADABLE, LetterRequest, Response

MAX_JOBS = 4  # of one worker; those behind a slow mail wait for it
_REFUSAL = re.compile(r"5\d\d 5\.\d{1,3}\.\d{1,3} [^\r\n]{1,600}")


class LetterReader:
    """Reads the mails of one spool: `await letter_reader(path)`. `page_mode` is `fax.page`, and may
    be changed; `seconds` is the limit for one mail."""

    def __init__(self, spool_root: Path, page_mode: str, workers: int = 2, seconds: float = MAX_SECONDS) -> None:
        self._spool_root, self.page_mode, self._seconds = spool_root, page_mode, seconds
        self._workers = [WorkerProcess() for _ in range(workers)]
        self._waiting: deque[Job] = deque()
        self._serving: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start the workers. Raises OSError where none can be started."""
        started = await asyncio.gather(*(worker.start() for worker in self._workers), return_exceptions=True)
        if errors := [error for error in started if error is not None]:
            await self.stop()
            raise errors[0]
        self._serving = [asyncio.create_task(self._serve(worker)) for worker in self._workers]

    async def stop(self) -> None:
        """End the workers; mails that are not read yet fail with StoreUnavailable."""
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        for worker in self._workers:
            await worker.kill()
        for job in (*self._waiting, *(job for worker in self._workers for job in worker.jobs)):
            job.finish(StoreUnavailable("the gateway is shutting down"))

    def is_worker(self, pid: int) -> bool:
        """Return whether a process is a worker, or in the session of one."""
        try:
            session = os.getsid(pid)
        except OSError:  # it has ended
            return False
        return session in [worker.pid for worker in self._workers]

    async def __call__(self, relpath: str, line_ends_changed: bool = False) -> Letter:
        """Read the spooled mail at `relpath`.

        Raises Refused for a mail that cannot be faxed, also when its worker died or took too long, and StoreUnavailable where the
        disk or the machine fails at the moment.
        """
        request = LetterRequest(path=relpath, page_mode=self.page_mode, line_ends_changed=line_ends_changed)
        job = Job(request, [self._spool_root / relpath])
        self._waiting.append(job)
        self._assign_waiting()
        try:
            return checked_letter(await job.response, relpath)
        except asyncio.CancelledError:
            for worker in self._workers:
                worker.cancel(job)
            raise

    def _assign_waiting(self) -> None:
        """Assign waiting jobs to the workers that have the fewest."""
        while self._waiting:
            worker = min(self._workers, key=lambda worker: len(worker.jobs))
            if len(worker.jobs) >= MAX_JOBS:
                return
            job = self._waiting.popleft()
            if not job.response.done():
                worker.assign(job)

    async def _serve(self, worker: WorkerProcess) -> None:
        """Finish the jobs of one worker, in their order."""
        while True:
            job = await worker.first_job()
            try:
                result: Response | Exception = await self._response(worker)
            except (Refused, StoreUnavailable) as error:
                result = error
            job.finish(result)
            worker.jobs.popleft()
            self._assign_waiting()

    async def _response(self, worker: WorkerProcess) -> Response:
        try:
            await asyncio.wait_for(worker.start(), MAX_SECONDS)
        except OSError as error:  # also a TimeoutError
            await worker.kill()
            raise StoreUnavailable(f"no worker process can be started: {error.strerror}") from None
        try:
            async with asyncio.timeout(self._seconds):
                return await worker.response()
        except (TimeoutError, EOFError, ConnectionError, ValueError):
            await worker.kill()
            raise Refused(UNREADABLE) from None


def checked_letter(response: Response, relpath: str) -> Letter:
    """Return the letter of a response, or raise its Refused or StoreUnavailable.

    A hostile mail may have written the response. So a letter's documents must lie in its own mail or in what was derived from it,
    and a reply must be a refusal.
    """
    if response.refused is not None:
        raise Refused(response.refused if _REFUSAL.fullmatch(response.refused) else UNREADABLE)
    if response.unavailable is not None:
        raise StoreUnavailable(response.unavailable[:200])
    letter = response.letter
    if letter is None or not all(_is_of_mail(document, relpath, len(letter.derived)) for document in letter.documents):
        raise Refused(UNREADABLE)
    return letter


def _is_of_mail(document: Document, relpath: str, derived_size: int) -> bool:
    is_name = "/" not in document.name or document.content_type == EXTERNAL
    is_stretch = min(document.offset, document.length, document.size) >= 0
    if document.path == derived_path(relpath):
        whole = document.encoding == "identity" and document.size == document.length
        return is_name and is_stretch and whole and document.offset + document.length <= derived_size
    return is_name and is_stretch and document.path == relpath
