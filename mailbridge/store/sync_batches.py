"""Makes mails durable in batches, in threads."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from mailbridge.errors import StoreUnavailable


class _Mail(Protocol):
    def close(self) -> None: ...

    def abort(self) -> None: ...


class _File(_Mail, Protocol):
    directory: Path

    def sync(self) -> None: ...


_T = TypeVar("_T", bound=_Mail)


class SyncBatches(Generic[_T]):
    """Makes mails durable in `threads`, since disks merge concurrent flushes; up to `mails` that wait share a batch in a thread.

    `sync` makes a batch durable, blocking, and returns the error of each mail, or None.
    """

    def __init__(self, sync: Callable[[Sequence[_T]], Sequence[Exception | None]], *, threads: int, mails: int) -> None:
        self._sync, self._most_threads, self._most_mails = sync, threads, mails
        self._waiting: deque[tuple[_T, asyncio.Future[None]]] = deque()
        self._threads = 0

    def add(self, mail: _T) -> asyncio.Future[None]:
        """Return a future that ends once the mail is durable, or raises StoreUnavailable: the mail is then deleted."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        done.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be waiting any more
        self._waiting.append((mail, done))
        if self._threads < self._most_threads:
            self._threads += 1
            self._begin(loop)
        return done

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        batch = [self._waiting.popleft() for _ in range(min(self._most_mails, len(self._waiting)))]
        if not batch:
            self._threads -= 1
            return

        given_up = False

        def work() -> Sequence[Exception | None]:
            return [] if given_up else self._sync([mail for mail, _ in batch])

        def ended(done: asyncio.Future[Sequence[Exception | None]]) -> None:
            if not given_up:
                self._end(loop, batch, _errors_of(done, len(batch)))

        try:
            loop.run_in_executor(None, work).add_done_callback(ended)
        except RuntimeError as error:  # no thread can be started, or the loop is closing; the executor may still call `work`
            given_up = True
            for mail, _ in batch:
                mail.abort()
            failed = StoreUnavailable(f"the spool cannot be synced: {error}")
            loop.call_soon(self._end, loop, batch, [failed] * len(batch))

    def _end(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: Sequence[tuple[_T, asyncio.Future[None]]],
        errors: Sequence[Exception | None],
    ) -> None:
        for (mail, done), error in zip(batch, errors, strict=True):
            mail.close()
            if done.done():
                continue
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)
        self._begin(loop)


def _errors_of(work: asyncio.Future[Sequence[Exception | None]], count: int) -> Sequence[Exception | None]:
    """Return the errors that `work` returned, or its own for each mail: a mail without a result would wait for ever."""
    error = StoreUnavailable("the spool's threads have ended") if work.cancelled() else work.exception()
    if isinstance(error, Exception):
        return [error] * count
    return work.result()


def sync_files(sync_names: Callable[[Path], None], files: Sequence[_File]) -> list[Exception | None]:
    """Sync files, blocking, then the names in each of their directories once; return the error of each file, or None."""
    errors = [_error_of(file.sync) for file in files]
    durable = {file.directory for file, error in zip(files, errors, strict=True) if error is None}
    failed = {directory: _error_of(partial(sync_names, directory)) for directory in durable}
    for number, file in enumerate(files):
        if errors[number] is None and failed[file.directory] is not None:
            file.abort()
            errors[number] = failed[file.directory]
    return errors


def _error_of(work: Callable[[], None]) -> Exception | None:
    """Return what `work` raises, even a bug: if the error stayed in its thread, the mail would wait for ever."""
    try:
        work()
    except Exception as error:
        return error
    return None
