"""A file that is being written to the spool."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mailbridge.errors import StoreUnavailable
from mailbridge.model import Document
from mailbridge.store.disk_errors import fault
from mailbridge.store.spool_paths import DERIVED, derived_path
from mailbridge.store.stored_files import write_all

if TYPE_CHECKING:
    from mailbridge.store.local_spool import LocalSpool


# Unsynced bytes of a large mail: a sync of any file on the disk may have to wait for them.
_SYNC_EVERY = 8 << 20


class SpoolFile:
    """A file that is being written to the spool: write, then commit or abort.

    `write` and `abort` may run at the same time in two threads: when a client disconnects, the file is aborted while an executor
    writes. The last one that holds the lock closes and unlinks the file, so no descriptor is closed during a write.
    """

    def __init__(self, spool: LocalSpool, path: Path) -> None:
        self._spool, self._path, self.directory = spool, path, path.parent
        self._lock = threading.Lock()
        self._aborted = False
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.relpath = f"mail/{path.parent.name}/{path.name}"  # to the spool's root
        self.size = self._synced = 0  # bytes written, and bytes known to be durable before the commit

    @contextlib.contextmanager
    def source(self, most: int) -> Iterator[str | bytes]:
        """Yield the path by which the mail can be read now."""
        yield self.relpath

    def write(self, data: bytes | bytearray) -> None:
        """Append `data`, blocking. Raises StoreUnavailable if the disk is full or fails."""
        try:
            with self._lock:
                if self._descriptor >= 0:
                    self._append(data)
        finally:
            self._remove_if_aborted()

    def write_behind(self, data: bytes) -> asyncio.Future[None] | None:
        """Append `data` in a thread, and sync from time to time; the future raises what `write` raises. None if it is written.

        The next write must wait for the future.
        """
        threads = self._spool.start_bulk_threads()
        if threads is None:
            self.write(data)
            return None
        return asyncio.get_running_loop().run_in_executor(threads, self._write_bulk, data)

    def _write_bulk(self, data: bytes) -> None:
        try:
            with self._lock:
                if self._descriptor >= 0:
                    self._append(data)
                    if self.size - self._synced >= _SYNC_EVERY:
                        self._spool.make_durable(self._descriptor)
                        self._synced = self.size
        finally:
            self._remove_if_aborted()

    def _append(self, data: bytes | bytearray) -> None:
        try:
            write_all(self._descriptor, data)
        except OSError as error:
            self._spool.healthy = False
            raise StoreUnavailable(f"the spool cannot be written: {fault(error)}") from None
        self.size += len(data)

    async def commit(self) -> None:
        """Make content and name durable, in a thread. Raises StoreUnavailable; the file is then deleted."""
        await self.begin_commit()

    def begin_commit(self) -> asyncio.Future[None]:
        """Start a commit, in one batch with the other files that wait; the future raises what `commit` raises."""
        return self._spool.sync_with_others(self)

    async def store(self, derived: bytes) -> None:
        """Store what was derived from a mail whose commit was begun. Raises StoreUnavailable."""
        if derived:
            await self._spool.store_derived(self, derived)

    async def store_draft(self, derived: bytes) -> None:
        """Store what was derived from a draft, whose mail is in its file already. Raises StoreUnavailable."""
        await self.store(derived)

    async def discard_draft(self) -> None:
        """Delete what was derived from a draft: `store` writes it again. Raises StoreUnavailable."""
        self._spool.delete(derived_path(self.relpath))

    def stored(self, document: Document) -> Document:
        """Return a document as it is stored."""
        return document

    def keep(self) -> None:
        """Note that a record names the mail."""

    def sync(self) -> None:
        """Make the content durable, blocking; the name is durable after a sync of `directory`. Raises StoreUnavailable.

        The file stays open: another thread would wait for the interpreter's lock once more to close it.
        """
        try:
            with self._lock:
                if self._descriptor < 0 or self._aborted:
                    raise StoreUnavailable("the mail was aborted")
                self._spool.make_durable(self._descriptor)
        except StoreUnavailable:
            self._aborted = True
            raise
        finally:
            self._remove_if_aborted()

    def close(self) -> None:
        """Close a file whose content is durable."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def abort(self) -> None:
        """Close and unlink, at once or after the write or commit under way. May be called twice, and after commit."""
        self._aborted = True
        self._remove_if_aborted()

    def _remove_if_aborted(self) -> None:
        while self._aborted and self._lock.acquire(blocking=False):
            try:
                if self._descriptor >= 0:
                    os.close(self._descriptor)
                    self._descriptor = -1
                for path in (self._path, self._path.with_suffix(DERIVED)):
                    with contextlib.suppress(OSError):
                        path.unlink(missing_ok=True)
                return
            finally:
                self._lock.release()
