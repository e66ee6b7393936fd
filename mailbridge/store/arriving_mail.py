"""A mail that arrives by SMTP for the spool's directory.

At the end a small mail becomes a stretch of a segment, together with what was derived from it. Until then nothing of it is on the
disk: a mail that is refused never was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mailbridge.model import Document
from mailbridge.store.buffered_mail import SMALL, BufferedMail, done
from mailbridge.store.segments import Segment
from mailbridge.store.spool_file import SpoolFile
from mailbridge.store.spool_paths import Stretch, derived_path

if TYPE_CHECKING:
    from mailbridge.store.local_spool import LocalSpool


class ArrivingMail(BufferedMail[SpoolFile]):
    """See `BufferedMail`. Only `pieces`, `is_aborted` and `place` are used by the thread of a batch."""

    body = None

    def __init__(self, spool: LocalSpool, id: str, announced: int = 0) -> None:
        super().__init__(spool, announced)
        self._spool, self._id = spool, id
        self._placed: tuple[Segment, Stretch] | None = None
        self._is_settled = False
        self.pieces: Sequence[bytes | bytearray] = ()

    def _create(self) -> SpoolFile:
        return self._spool.create(self._id)

    def _path_of(self, file: SpoolFile) -> str:
        return file.relpath

    def _free_memory(self) -> None:
        super()._free_memory()
        self.pieces = ()

    def begin_commit(self) -> asyncio.Future[None]:
        """Start to make a mail durable that has a file. A small one is made durable by `store`, if it is accepted."""
        return done() if self._file is None else self._file.begin_commit()

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
