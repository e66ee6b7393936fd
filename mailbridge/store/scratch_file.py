"""A mail that arrives on its way into a database: a file that nobody needs after that."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from mailbridge.errors import StoreUnavailable
from mailbridge.store.disk_errors import fault, is_full
from mailbridge.store.written_file import BulkThreads, WrittenFile


class ScratchFile(WrittenFile):
    """A mail that arrives and is not small. It is read by its descriptor: nobody else needs its name."""

    def __init__(self, path: Path, threads: BulkThreads, make_room: Callable[[], None]) -> None:
        super().__init__(path, threads, lambda: None, os.O_RDWR)
        self._make_room = make_room
        self._is_whole = True

    @property
    def path(self) -> str:
        """Where this process and its workers can open it."""
        return f"/proc/self/fd/{self._descriptor}"

    def _append(self, data: bytes | bytearray) -> None:
        rest = memoryview(data)
        has_room = False
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except OSError as error:
                if has_room or not is_full(error):
                    raise StoreUnavailable(f"the spool cannot be written: {fault(error)}") from None
                self._make_room()
                has_room = True
        self.size += len(data)

    def read_at(self, start: int, size: int) -> bytes:
        """Return bytes of it, in any thread. Raises StoreUnavailable, also where it is aborted."""
        try:
            with self._lock:
                if self._descriptor < 0 or self._aborted:
                    raise StoreUnavailable("the mail was aborted")
                return os.pread(self._descriptor, size, start)
        except OSError as error:
            raise StoreUnavailable(f"the spool cannot be read: {fault(error)}") from None
        finally:
            self._remove_if_aborted()

    def end_with(self, size: int, derived: bytes) -> None:
        """Let the file be a mail of so many bytes and what was derived from it, in any thread."""
        try:
            with self._lock:
                if self._descriptor >= 0 and not self._aborted:
                    os.ftruncate(self._descriptor, size)
                    self.size = size + os.pwrite(self._descriptor, derived, size)
                    self._is_whole = self.size == size + len(derived)
        except OSError:
            self._is_whole = False
        finally:
            self._remove_if_aborted()

    def move(self, to: str) -> None:
        """Close it under another name, unless it is not whole. Raises OSError."""
        if self._is_whole:
            os.rename(self._path, to)
            self.close()
        else:
            self.abort()
