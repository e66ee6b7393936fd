"""A mail that arrives by SMTP: in memory while it is small, and a file of the spool once it is not.

At the end a small mail becomes a stretch of a segment, together with what was derived from it. Until then nothing of it is on the
disk: a mail that is refused never was.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from mailbridge.errors import StoreUnavailable
from mailbridge.model import Document
from mailbridge.store.disk_errors import fault
from mailbridge.store.segments import Segment
from mailbridge.store.spool_file import SpoolFile
from mailbridge.store.spool_paths import IN_MEMORY, Stretch, derived_path
from mailbridge.store.stored_files import memory_file

if TYPE_CHECKING:
    from mailbridge.store.local_spool import LocalSpool

SMALL: Final = 1 << 20  # bytes of a mail, with what was derived from it, that is in memory and in a segment


class ArrivingMail:
    """A mail, `announced` as so many bytes. Used in the event loop.

    Only `pieces`, `is_aborted` and `place` are used by the thread of a batch.
    """

    def __init__(self, spool: LocalSpool, id: str, announced: int = 0) -> None:
        self._spool, self._id, self._announced = spool, id, announced
        self._content, self._counted = bytearray(), 0
        self._file: SpoolFile | None = None
        self._source = ""
        self._placed: tuple[Segment, Stretch] | None = None
        self._is_settled = False
        self.size = 0  # bytes of the mail
        self.pieces: Sequence[bytes | bytearray] = ()
        self.is_aborted = False

    def write(self, data: bytes) -> None:
        """Append `data`. Raises StoreUnavailable if the disk is full or fails."""
        if (file := self._take(data)) is not None:
            file.write(data)

    def write_behind(self, data: bytes) -> asyncio.Future[None] | None:
        """See `SpoolFile.write_behind`."""
        file = self._take(data)
        return None if file is None else file.write_behind(data)

    def _take(self, data: bytes) -> SpoolFile | None:
        """Append `data` in memory, or return the file that it must be written to."""
        if self.is_aborted:
            return None
        more = len(data)
        self.size += more
        if self._file is None:
            if max(self._announced, len(self._content) + more) <= SMALL and more <= self._spool.memory:
                self._spool.memory -= more
                self._counted += more
                self._content += data
                return None
            self._become_file()
        return self._file

    def _become_file(self) -> SpoolFile:
        self._file = self._spool.create(self._id)
        self._file.write(self._content)
        self._free_memory()
        return self._file

    def _free_memory(self) -> None:
        self._spool.memory += self._counted
        self._counted, self._content, self.pieces = 0, bytearray(), ()

    @contextlib.contextmanager
    def source(self, most: int) -> Iterator[str | bytes]:
        """Yield the mail's content, or the path by which it can be read now if it has more than `most` bytes.

        Raises StoreUnavailable.
        """
        if self._file is not None:
            self._source = self._file.relpath
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

    def begin_commit(self) -> asyncio.Future[None]:
        """Start to make a mail durable that has a file. A small one is made durable by `store`, if it is accepted."""
        if self._file is not None:
            return self._file.begin_commit()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    async def store(self, derived: bytes) -> None:
        """Make a small mail durable, and what was derived from a mail. Raises StoreUnavailable."""
        if self._file is None and len(self._content) + len(derived) > SMALL:
            await self._become_file().commit()
        if self._file is None:
            self.pieces = (self._content, derived)
            await self._spool.append(self)
        else:
            await self._file.store(derived)

    def place(self, segment: Segment, stretch: Stretch) -> None:
        """Note where the mail is durable by now."""
        self._placed = segment, stretch

    @property
    def relpath(self) -> str:
        """The path of a mail that is stored."""
        if self._file is not None:
            return self._file.relpath
        assert self._placed is not None
        return self._placed[1].path

    def stored(self, document: Document) -> Document:
        """Return a document, which was found in the mail at its source, as it is stored."""
        if self._file is None:
            of_mail = document.path != derived_path(self._source)
            return replace(document, path=self.relpath, offset=document.offset + (0 if of_mail else self.size))
        is_elsewhere = self._source != self._file.relpath
        return replace(document, path=self._moved(document.path)) if is_elsewhere else document

    def _moved(self, path: str) -> str:
        return self.relpath if path == self._source else derived_path(self.relpath)

    def close(self) -> None:
        """End a batch."""
        self._free_memory()
        if self.is_aborted:
            self.abort()

    def keep(self) -> None:
        """Note that a record names the mail."""
        if self._placed is not None and not self._is_settled:
            self._is_settled = True
            self._spool.segments.settle(self._placed[0], kept=True)

    def abort(self) -> None:
        """Delete the mail, at once or at the end of the batch under way. May be called twice."""
        self.is_aborted = True
        if self._file is not None:
            self._file.abort()
        elif self._placed is not None and not self._is_settled:
            self._is_settled = True
            self._spool.segments.discard(*self._placed)
        if not self.pieces:
            self._free_memory()
