"""A mail on its way into bodies that several nodes share.

A body is the mail, and behind it what was derived from it. One that fits a row is stored in the transaction that records the
mail, so it costs no commit of its own; a larger one is put before that. A body without a record is deleted when it is old.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from mailbridge.model import Document
from mailbridge.store.body_rows import PIECE
from mailbridge.store.buffered_mail import BufferedMail, done
from mailbridge.store.scratch_file import ScratchFile
from mailbridge.store.spool_paths import derived_path, mail_path

if TYPE_CHECKING:
    from mailbridge.store.shared_spool import SharedSpool

_CHUNK: Final = 1 << 16  # bytes of a large mail that are put at a time


class SharedMail(BufferedMail[ScratchFile]):
    """See `BufferedMail`. `create_file` is for a mail that any thread writes."""

    def __init__(self, spool: SharedSpool, id: str, announced: int = 0) -> None:
        super().__init__(spool, announced)
        self._spool, self._id = spool, id
        self.relpath = mail_path(id)
        self._was_put = False  # or may have been
        self._is_kept = False
        self._derived = b""
        self.body: tuple[bytes | bytearray, ...] | None = None

    def _create(self) -> ScratchFile:
        return self._spool.cache.scratch(self._id)

    def _path_of(self, file: ScratchFile) -> str:
        return file.path

    def create_file(self) -> None:
        """Have a file from now on. Raises StoreUnavailable."""
        self._become_file()

    def begin_commit(self) -> asyncio.Future[None]:
        """Do nothing: a mail that is refused never comes to the database."""
        return done()

    async def store(self, derived: bytes) -> None:
        """Put a large mail, durably, with what was derived from it. Raises StoreUnavailable."""
        self._derived = derived
        if self._was_put or self.size + len(derived) > PIECE:
            await self._put(self._finish)
            self.body = ()
        elif self._file is None:
            self.body = (self._content, derived)
        else:
            self.body = (await asyncio.to_thread(self._file.read_at, 0, self.size), derived)

    async def store_draft(self, derived: bytes) -> None:
        """Put the mail already: what is shown of it is read by its path. Raises StoreUnavailable.

        The file stays as it is: the mail will be read again.
        """
        self._derived = derived
        await self._put(lambda: None)

    async def discard_draft(self) -> None:
        """Do nothing: `store` replaces the body."""

    async def _put(self, after: Callable[[], None]) -> None:
        self._was_put = True

        def work() -> None:
            self._spool.bodies.put(self.relpath, self._pieces())
            after()

        await self._spool.run(work)

    def _finish(self) -> None:
        """Let the file be what the body is."""
        if self._file is not None:
            self._file.end_with(self.size, self._derived)

    def _pieces(self) -> Iterator[bytes]:
        """Yield the body, in any thread. Raises StoreUnavailable if the mail is aborted meanwhile."""
        if self._file is None:
            yield bytes(self._content)
        else:
            for start in range(0, self.size, _CHUNK):
                yield self._file.read_at(start, min(_CHUNK, self.size - start))
        yield self._derived

    def stored(self, document: Document) -> Document:
        """Return a document, which was found in the mail at its source, as it is stored."""
        of_mail = document.path != derived_path(self._source)
        return replace(document, path=self.relpath, offset=document.offset + (0 if of_mail else self.size))

    def keep(self) -> None:
        """Note that a record names the mail, which this node uploads without reading it from the database."""
        self._is_kept = True
        if self._file is None:
            self._spool.cache.add(self.relpath, (self._content, self._derived))
        elif self.body:
            self._spool.cache.add(self.relpath, self.body)
            self._file.abort()
        else:
            self._spool.cache.adopt(self.relpath, self._file)
        self._free()

    def abort(self) -> None:
        """Delete the mail. May be called twice."""
        if self._is_kept:
            return
        self.is_aborted = True
        if self._file is not None:
            self._file.abort()
        if self._was_put:
            self._was_put = False
            self._spool.delete_later(self.relpath)
        self._free()

    def _free(self) -> None:
        self._free_memory()
        self.body, self._derived = None, b""
