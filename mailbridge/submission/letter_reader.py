"""The letter reader: reads mails in worker processes, so that a hostile mail harms neither the daemon nor other mails.

A mail that kills its worker, or takes too long, is refused; a new worker is started and reads on. Clients share the workers (see
`worker_shares`). Where one client alone sends, its quick mails are assigned to a worker before it has answered the first, so that
it does not wait for a busy daemon; it reads them one by one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Callable
from functools import partial

from mailbridge import log
from mailbridge.errors import NotFound, Refused, StoreUnavailable
from mailbridge.model import EXTERNAL, Document
from mailbridge.page.confirmation_text import ConfirmationText
from mailbridge.store.spool import Spool
from mailbridge.store.spool_paths import IN_MEMORY, derived_path
from mailbridge.submission.fork_server_process import ForkServerProcess
from mailbridge.submission.letter.letter import Letter
from mailbridge.submission.worker_process import Job, WorkerProcess
from mailbridge.submission.worker_protocol import (
    MAX_SECONDS,
    UNREADABLE,
    ConfirmationRequest,
    LetterRequest,
    PictureRequest,
    Response,
)
from mailbridge.submission.worker_shares import WorkerShares

WORKERS = 3  # one more than a client may hold
MAX_JOBS = 4  # of one worker
_CONFIRMATIONS, _PICTURES = "confirmations", "pictures"  # with whose they are, they stand for clients
_REFUSAL = re.compile(r"5\d\d 5\.\d{1,3}\.\d{1,3} [^\r\n]{1,600}")


class LetterReader:
    """Reads the mails of one spool: `await letter_reader(path)`. `page_mode` is `fax.page`, and may
    be changed; `seconds` is the limit for one mail."""

    def __init__(self, spool: Spool, page_mode: str, workers: int = WORKERS, seconds: float = MAX_SECONDS) -> None:
        self._spool, self.page_mode, self._seconds = spool, page_mode, seconds
        self._fork_server = ForkServerProcess()
        self._workers = [WorkerProcess(self._fork_server) for _ in range(workers)]
        self._waiting: WorkerShares[Job] = WorkerShares(workers)
        self._rested: asyncio.TimerHandle | None = None
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
        if self._rested is not None:
            self._rested.cancel()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await self._fork_server.stop()
        for worker in self._workers:
            await worker.kill()
        for job in (*self._waiting.remove_all(), *(job for worker in self._workers for job in worker.jobs)):
            job.finish(StoreUnavailable("the gateway is shutting down"))

    def is_worker(self, pid: int) -> bool:
        """Return whether a process is a worker, or in the session of one."""
        try:
            session = os.getsid(pid)
        except OSError:  # it has ended
            return False
        return session in [worker.pid for worker in self._workers]

    async def __call__(self, mail: str | bytes, line_ends_changed: bool = False, client: str = "") -> Letter:
        """Read a mail: its content, of MAX_INLINE bytes at most, or a path in the spool, or an absolute one.

        `client` is whose it is: clients take turns.

        Raises Refused for a mail that cannot be faxed, also when its worker died or took too long, and StoreUnavailable where the
        disk or the machine fails at the moment.
        """
        content, path = (mail, IN_MEMORY) if isinstance(mail, bytes) else (b"", mail)
        request = LetterRequest(path=path, page_mode=self.page_mode, line_ends_changed=line_ends_changed)
        files = [] if isinstance(mail, bytes) else [self._opener(path)]
        return checked_letter(await self._ask(Job(request, files, client, content)), path)

    async def confirmation(self, text: ConfirmationText, document: Document | None, owner: str) -> bytes:
        """Return a confirmation as PDF, with the first page of a document where that can be shown. `owner` is whose fax it is.

        Raises StoreUnavailable, and Refused if it cannot be made.
        """
        shown = document if document is not None and document.path and document.content_type != EXTERNAL else None
        client = f"{_CONFIRMATIONS} of {owner}"
        if shown is not None:
            request = ConfirmationRequest(text=text, document=shown)
            with contextlib.suppress(Refused):  # the document has ended its worker
                await self._fetch(shown.path)
                response = await self._ask(Job(request, [self._opener(shown.path)], client))
                if response.page:
                    return response.page
        response = await self._ask(Job(ConfirmationRequest(text=text), [], client))
        if not response.page:
            raise Refused(response.refused or UNREADABLE)
        return response.page

    async def picture(self, document: Document, number: int, width: int, viewer: str) -> Response:
        """Return a worker's response with a page as PNG (see `page_pictures`).

        Raises StoreUnavailable, and Refused where a worker's limits do not suffice for it.
        """
        try:
            await self._spool.fetch(document.path)
        except NotFound:
            return Response(page=b"", not_shown="deleted")
        request = PictureRequest(document=document, number=number, width=width)
        response = await self._ask(Job(request, [self._opener(document.path)], f"{_PICTURES} of {viewer}"))
        if response.unavailable is not None:
            raise StoreUnavailable(response.unavailable[:200])
        return response

    async def _fetch(self, path: str) -> None:
        try:
            await self._spool.fetch(path)
        except (NotFound, OSError) as error:
            raise StoreUnavailable(f"the spool cannot be read: {error}") from None

    def _opener(self, path: str) -> Callable[[], int]:
        return partial(self._spool.open_descriptor, path)

    async def _ask(self, job: Job) -> Response:
        self._waiting.add(job.client, job)
        self._assign_waiting()
        try:
            return await job.response
        except asyncio.CancelledError:
            for worker in self._workers:
                worker.cancel(job)
            raise

    def _assign_waiting(self) -> None:
        """Assign waiting jobs to workers that have none, and to those of a client that alone has jobs."""
        if not self._waiting:
            return
        now = asyncio.get_running_loop().time()
        for worker in self._workers:
            while not worker.jobs:
                held = [each.jobs[0].client for each in self._workers if each.jobs]
                found = self._waiting.next(held, now)
                if found is None:
                    break
                self._assign(worker, found[1])
        for worker in sorted(self._workers, key=lambda worker: len(worker.jobs)):
            while 0 < len(worker.jobs) < MAX_JOBS and (job := self._waiting.next_behind(worker.jobs[0].client)) is not None:
                self._assign(worker, job)
        if self._rested is not None:
            self._rested.cancel()
        if (seconds := self._waiting.seconds_until_rested(now)) is not None:
            self._rested = asyncio.get_running_loop().call_later(seconds, self._assign_waiting)

    def _assign(self, worker: WorkerProcess, job: Job) -> None:
        if job.is_cancelled:
            job.close()  # it may have been assigned before, to a worker that was killed
        else:
            worker.assign(job)

    async def _serve(self, worker: WorkerProcess) -> None:
        """Finish the jobs of one worker, in their order."""
        loop = asyncio.get_running_loop()
        while True:
            job = await worker.first_job()
            started = loop.time()
            try:
                result: Response | Exception = await self._response(worker)
            except (Refused, StoreUnavailable) as error:
                result = error
            except Exception as error:  # otherwise this worker would serve no more
                log.worker_crashed("worker", error=repr(error))
                await worker.kill()
                result = StoreUnavailable("a worker process failed")
            job.finish(result)
            worker.jobs.popleft()
            killed = isinstance(result, Refused)
            # A worker that was killed because nobody waits any more says nothing about the mail.
            out_of_time = killed and not job.is_cancelled
            self._waiting.ended(job.client, loop.time() - started, loop.time(), out_of_time=out_of_time)
            if killed:
                # The new process gets them when it is their client's turn.
                self._waiting.add_first(job.client, worker.remove_jobs())
            self._assign_waiting()

    async def _response(self, worker: WorkerProcess) -> Response:
        try:
            if not worker.runs:  # for each mail a wait_for would cost a task
                await asyncio.wait_for(worker.start(), MAX_SECONDS)
        except (OSError, RuntimeError) as error:  # also a TimeoutError; a RuntimeError where no thread can be started
            await worker.kill()
            timed_out = isinstance(error, TimeoutError)
            reason = "it takes too long" if timed_out else getattr(error, "strerror", None) or str(error)
            raise StoreUnavailable(f"no worker process can be started: {reason}") from None
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
