"""A file that is being written, by any thread, and that may be given up at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from mailbridge.errors import StoreUnavailable
from mailbridge.store.disk_errors import fault
from mailbridge.store.stored_files import write_all
from mailbridge.threads import start_threads

# Threads that write large mails: a slow disk holds a write up.
_BULK_THREADS: Final = 3


class BulkThreads:
    """The threads that write large mails, which are started once."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None

    def get(self) -> ThreadPoolExecutor | None:
        """Return the threads, None where they cannot be started now."""
        if self._threads is None:
            with contextlib.suppress(RuntimeError):
                self._threads = start_threads(_BULK_THREADS, "bulk")
        return self._threads


class WrittenFile:
    """A file that is being written to its end, and then closed or aborted. Raises OSError.

    `write` and `abort` may run at the same time in two threads: when a client disconnects, the file is aborted while an executor
    writes. The last one that holds the lock closes and unlinks the file, so no descriptor is closed during a write.
    `failed` is called after a failed write.
    """

    def __init__(self, path: Path, threads: BulkThreads, failed: Callable[[], None], access: int = os.O_WRONLY) -> None:
        self._path, self._threads, self._failed = path, threads, failed
        self._lock = threading.Lock()
        self._aborted = False
        self._descriptor = os.open(path, access | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.size = 0  # bytes written

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
        threads = self._threads.get()
        if threads is None:
            self.write(data)
            return None
        return asyncio.get_running_loop().run_in_executor(threads, self._write_bulk, data)

    def _write_bulk(self, data: bytes) -> None:
        try:
            with self._lock:
                if self._descriptor >= 0:
                    self._append(data)
                    self._written_in_bulk()
        finally:
            self._remove_if_aborted()

    def _written_in_bulk(self) -> None:
        """Do what is to be done now and then while a large file is written. Raises StoreUnavailable."""

    def _append(self, data: bytes | bytearray) -> None:
        try:
            write_all(self._descriptor, data)
        except OSError as error:
            self._failed()
            raise StoreUnavailable(f"the spool cannot be written: {fault(error)}") from None
        self.size += len(data)

    def close(self) -> None:
        """Close a file that is complete."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def abort(self) -> None:
        """Close and unlink, at once or after the write or commit under way. May be called twice, and after the end."""
        self._aborted = True
        self._remove_if_aborted()

    def _remove_if_aborted(self) -> None:
        while self._aborted and self._lock.acquire(blocking=False):
            try:
                if self._descriptor >= 0:
                    os.close(self._descriptor)
                    self._descriptor = -1
                self._unlink()
                return
            finally:
                self._lock.release()

    def _unlink(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
