"""A mail that is being received: in memory while it is small, and a file once it is not."""

from __future__ import annotations

import asyncio
import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Final, Generic, Protocol, TypeVar

from mailbridge.errors import StoreUnavailable
from mailbridge.store.disk_errors import fault
from mailbridge.store.spool_paths import IN_MEMORY
from mailbridge.store.stored_files import memory_file
from mailbridge.store.written_file import WrittenFile

SMALL: Final = 1 << 20  # bytes of a mail, with what was derived from it, that is in memory
# Bytes of mails in memory. Beyond that each has a file.
MEMORY: Final = 32 << 20

F = TypeVar("F", bound=WrittenFile)


class _Budget(Protocol):
    memory: int  # more bytes of mails that may be in memory


class BufferedMail(ABC, Generic[F]):
    """A mail, `announced` as so many bytes. Used in the event loop. A subclass has `_create` and `_path_of`."""

    def __init__(self, budget: _Budget, announced: int) -> None:
        self._budget, self._announced = budget, announced
        self._content, self._counted = bytearray(), 0
        self._file: F | None = None
        self._source = ""
        self.size = 0  # bytes of the mail
        self.is_aborted = False

    @abstractmethod
    def _create(self) -> F:
        """Create the file of a mail that is not small. Raises StoreUnavailable."""

    @abstractmethod
    def _path_of(self, file: F) -> str:
        """Return where a worker finds the file while it is written."""

    def write(self, data: bytes) -> None:
        """Append `data`. Raises StoreUnavailable if the disk is full or fails."""
        if (file := self._take(data)) is not None:
            file.write(data)

    def write_behind(self, data: bytes) -> asyncio.Future[None] | None:
        """See `WrittenFile.write_behind`."""
        file = self._take(data)
        return None if file is None else file.write_behind(data)

    def _take(self, data: bytes) -> F | None:
        """Append `data` in memory, or return the file that it must be written to."""
        if self.is_aborted:
            return None
        more = len(data)
        self.size += more
        if self._file is None:
            if max(self._announced, len(self._content) + more) <= SMALL and more <= self._budget.memory:
                self._budget.memory -= more
                self._counted += more
                self._content += data
                return None
            self._become_file()
        return self._file

    def _become_file(self) -> F:
        self._file = self._create()
        self._file.write(self._content)
        self._free_memory()
        return self._file

    def _free_memory(self) -> None:
        self._budget.memory += self._counted
        self._counted, self._content = 0, bytearray()

    @contextlib.contextmanager
    def source(self, most: int) -> Iterator[str | bytes]:
        """Yield the mail's content, or the path by which it can be read now if it has more than `most` bytes.

        Raises StoreUnavailable.
        """
        if self._file is not None:
            self._source = self._path_of(self._file)
            yield self._source
            return
        if self.size <= most:
            self._source = IN_MEMORY
            yield bytes(self._content)
            return
        try:
            descriptor = memory_file(self._content)
        except OSError as error:
            raise StoreUnavailable(f"the mail cannot be given to a worker: {fault(error)}") from None
        try:
            self._source = f"/proc/self/fd/{descriptor}"
            yield self._source
        finally:
            os.close(descriptor)


def done() -> asyncio.Future[None]:
    """Return a future that has ended."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_result(None)
    return future
