"""The spool: mails, what was derived from them, and received documents, as every service sees them.

With SQLite it is a directory (`local_spool`). With PostgreSQL it is in the database, where every node finds it, and a directory
is a cache (`shared_spool`). What a path names is written once, and is durable before a transaction names it.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from mailbridge.model import Document
from mailbridge.store.document_reader import DocumentReader


class NewMail(Protocol):
    """A mail that is being put into the spool: it is written, read at its `source`, stored, and then kept or aborted."""

    @property
    def size(self) -> int:
        """The bytes that were written."""

    @property
    def relpath(self) -> str:
        """The path of a mail that is stored."""

    def write(self, data: bytes, /) -> None:
        """Append `data`, blocking. Raises StoreUnavailable if the disk is full or fails."""

    def write_behind(self, data: bytes, /) -> asyncio.Future[None] | None:
        """Append `data` in a thread; the future raises what `write` raises. None if it is written already.

        The next write must wait for the future.
        """

    def source(self, most: int) -> AbstractContextManager[str | bytes]:
        """Return a context with the mail's content, or the path by which it can be read now if it has more than `most` bytes.

        Raises StoreUnavailable.
        """

    def begin_commit(self) -> asyncio.Future[None]:
        """Begin what of `store` can be done before it is known what is derived; the future may raise StoreUnavailable."""

    async def store(self, derived: bytes) -> None:
        """Make the mail durable, and what was derived from it. Raises StoreUnavailable."""

    def stored(self, document: Document) -> Document:
        """Return a document, which was found in the mail at its source, as it is stored."""

    @property
    def body(self) -> tuple[bytes | bytearray, ...] | None:
        """What the transaction that records a stored mail has to store: see `QueuedMail.body`."""

    def keep(self) -> None:
        """Note that a record names the mail, or may do so, and free what the mail takes in this process."""

    def abort(self) -> None:
        """Delete the mail, of which no record is known. May be called twice, and while it is being written."""


class NewDraft(NewMail, Protocol):
    """A mail that any thread may write, and that may be looked at before it is stored."""

    async def store_draft(self, derived: bytes) -> None:
        """Let the mail, and what was derived from it, be read by their paths before `store`. Raises StoreUnavailable."""

    async def discard_draft(self) -> None:
        """Undo `store_draft`, before `store`. Raises StoreUnavailable."""


class Spool(Protocol):
    """The spool. Every method that is not async blocks, except for `receive`.

    `is_swept` is whether what no record names is deleted when it is old, while the daemon works, and not only by the next start.
    """

    @property
    def is_swept(self) -> bool: ...

    def create(self, id: str) -> NewDraft:
        """Begin the mail with this envelope id, for any thread. Raises StoreUnavailable."""

    def receive(self, id: str, announced: int = 0) -> NewMail:
        """Begin a mail that arrives in the event loop, announced as so many bytes."""

    def store_received(self, name: str, content: bytes | Iterable[bytes]) -> str:
        """Store a received document durably, and return its path; `name` is by `received_name`. Raises StoreUnavailable."""

    def open(self, path: str) -> io.RawIOBase:
        """Open what a path names. A mail is as long as its envelope says; what follows was derived.

        Raises NotFound or OSError if it is not there or cannot be read, and StoreUnavailable.
        """

    def open_document(self, document: Document) -> DocumentReader:
        """Open a document's decoded content as a seekable binary file. Raises NotFound (deleted), StoreUnavailable."""

    async def open_to_upload(self, document: Document) -> DocumentReader:
        """Open a document as `open_document` does, for the event loop: no read of it waits for the database."""

    async def fetch(self, path: str) -> None:
        """Have what a path names on this machine, so that `open_descriptor` takes no time.

        Raises NotFound, StoreUnavailable, OSError.
        """

    def open_descriptor(self, path: str) -> int:
        """Open what a path names as a file that has nothing else, and return its descriptor. The path may be a `source`.

        Raises NotFound, StoreUnavailable, OSError.
        """

    def delete(self, path: str) -> None:
        """Delete what a path names, if it exists. Raises StoreUnavailable."""

    def delete_all(self, wanted: Mapping[str, Sequence[str]]) -> set[str]:
        """Delete the paths of each key durably; return the keys of which all is gone. Raises StoreUnavailable."""

    def retire_segments(self, deleted: Iterable[str]) -> list[str]:
        """Return the files of which these deleted paths were a part, and which are to be deleted if no record names the rest."""

    def probe(self) -> bool:
        """Return whether mail can be spooled."""

    async def close(self) -> None:
        """Finish what was begun in the background, if it does not take long."""
