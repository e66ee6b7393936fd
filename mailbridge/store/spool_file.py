"""A file that is being written to the spool's directory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mailbridge.errors import StoreUnavailable
from mailbridge.model import Document
from mailbridge.store.spool_paths import DERIVED, derived_path
from mailbridge.store.written_file import WrittenFile

if TYPE_CHECKING:
    from mailbridge.store.local_spool import LocalSpool


# Unsynced bytes of a large mail: a sync of any file on the disk may have to wait for them.
_SYNC_EVERY: Final = 8 << 20


class SpoolFile(WrittenFile):
    """A mail's file: write, then commit or abort."""

    body = None

    def __init__(self, spool: LocalSpool, path: Path) -> None:
        super().__init__(path, spool.bulk_threads, spool.note_failure)
        self._spool, self.directory = spool, path.parent
        self._synced = 0  # bytes known to be durable before the commit
        self.relpath = f"mail/{path.parent.name}/{path.name}"  # to the spool's root

    @contextlib.contextmanager
    def source(self, most: int) -> Iterator[str | bytes]:
        """Yield the path by which the mail can be read now."""
        yield self.relpath

    def _written_in_bulk(self) -> None:
        if self.size - self._synced >= _SYNC_EVERY:
            self._spool.make_durable(self._descriptor)
            self._synced = self.size

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

    def _unlink(self) -> None:
        super()._unlink()
        with contextlib.suppress(OSError):
            self._path.with_suffix(DERIVED).unlink(missing_ok=True)
