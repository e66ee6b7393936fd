"""The spool: mails and received documents as files, durable on request, and read back decoded.

`root/mail/XX/ID.eml` holds a mail as it came, `ID.derived` beside it what was made of the mail: the page of its text, files that
were packed in it, converted pictures. `root/received/XX/ID` is a received document. XX spreads files over directories,
since creating in one with many deleted entries is slow on some filesystems; it changes with the half minute in an id, so that
mails that come together share a directory, which is then synced once for all of them. Every path handed out is relative to the
root.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import threading
import time
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

from mailbridge.errors import NotFound, StoreUnavailable
from mailbridge.model import Document
from mailbridge.store.decode import DocumentReader
from mailbridge.store.fsync import sync_directory
from mailbridge.store.sync_batches import SyncBatches

_FAN = 64
# Of an id such as env_01KCX9Z8…: the prefix and a time in steps of 32.8 s.
_FANNED = 11
_A_MAIL = 1 << 16
_SUSPECT_SECONDS = 10.0
_DERIVED = ".derived"
# Files beside a mail, which are deleted with it. Version 0.1.0 stored the page of the text as a PDF of its own.
BESIDE_MAIL = (_DERIVED, ".page.pdf")


def _fan(name: str) -> str:
    return f"{zlib.crc32(name[:_FANNED].encode()) % _FAN:02x}"


def derived_path(mail: str) -> str:
    """Return the path of the content derived from the mail at this path."""
    return f"{mail.removesuffix('.eml')}{_DERIVED}"


class SpoolFile:
    """One mail on its way into the spool: write, then commit or abort.

    `write` and `abort` may meet in two threads: a client that hangs up aborts while a write is under way in an executor.
    Whoever holds the lock last closes and unlinks, so a descriptor is never closed under a running write.
    """

    def __init__(self, spool: Spool, path: Path) -> None:
        self._spool, self._path, self.directory = spool, path, path.parent
        self._lock = threading.Lock()
        self._doomed = False
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.relpath = f"mail/{path.parent.name}/{path.name}"
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append `data`, blocking. Raises StoreUnavailable when the disk takes no more."""
        try:
            with self._lock:
                if self._descriptor >= 0:
                    self._append(data)
        finally:
            self._reap()

    def _append(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            self._spool.healthy = False
            raise StoreUnavailable(f"the spool cannot be written: {error.strerror}") from None
        self.size += len(data)

    async def commit(self) -> None:
        """Make content and name durable, in a thread. Raises StoreUnavailable; the file is then gone and not tried again."""
        await self.begin_commit()

    def begin_commit(self) -> asyncio.Future[None]:
        """Begin what `commit` does, together with the other mails that wait for it."""
        return self._spool.sync_with_others(self)

    def sync(self) -> None:
        """Make the content durable, blocking; its name is so after a sync of `directory`. Raises StoreUnavailable."""
        try:
            with self._lock:
                if self._descriptor < 0 or self._doomed:
                    raise StoreUnavailable("the mail was given up")
                self._spool.make_durable(self._descriptor)
                os.close(self._descriptor)
                self._descriptor = -1
        except StoreUnavailable:
            self._doomed = True
            raise
        finally:
            self._reap()

    def abort(self) -> None:
        """Close and unlink; at once, or as soon as the write or commit under way ends. May be called twice, and after commit."""
        self._doomed = True
        self._reap()

    def _reap(self) -> None:
        while self._doomed and self._lock.acquire(blocking=False):
            try:
                if self._descriptor >= 0:
                    os.close(self._descriptor)
                    self._descriptor = -1
                for path in (self._path, self._path.with_suffix(_DERIVED)):
                    with contextlib.suppress(OSError):
                        path.unlink(missing_ok=True)
                return
            finally:
                self._lock.release()


class Spool:
    """The directory of spooled files. `healthy` turns False at a failed write or fsync and True at the next good fsync."""

    def __init__(self, root: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.root, self._monotonic = root, monotonic
        self.healthy, self._suspect_until = True, 0.0
        self._batches = SyncBatches(self.make_names_durable)
        try:
            for kind in ("mail", "received"):
                for number in range(_FAN):
                    (root / kind / f"{number:02x}").mkdir(mode=0o700, parents=True, exist_ok=True)
                sync_directory(root / kind)
            sync_directory(root)
        except OSError as error:
            raise StoreUnavailable(f"the spool cannot be made: {error.strerror}") from None

    def create(self, id: str) -> SpoolFile:
        """Begin the mail with this envelope id under its final name, mode 0600. Raises StoreUnavailable."""
        try:
            return SpoolFile(self, self.root / "mail" / _fan(id) / f"{id}.eml")
        except OSError as error:
            self.healthy = False
            raise StoreUnavailable(f"the spool cannot be written: {error.strerror}") from None

    async def store_derived(self, mail: SpoolFile, content: bytes) -> None:
        """Write what was derived from a mail, durable, to its `derived_path`; it is deleted with the mail.

        Large content is written in a thread. Raises StoreUnavailable; nothing is left of the content then.
        """
        try:
            derived = SpoolFile(self, self.root / derived_path(mail.relpath))
        except OSError as error:
            self.healthy = False
            raise StoreUnavailable(f"the spool cannot be written: {error.strerror}") from None
        try:
            if len(content) > _A_MAIL:
                await asyncio.to_thread(derived.write, content)
            else:
                derived.write(content)
            await derived.commit()
        except BaseException:
            derived.abort()
            raise

    def sync_with_others(self, file: SpoolFile) -> asyncio.Future[None]:
        """Make a file and its name durable, in one batch with the files that wait for the same."""
        return self._batches.add(file)

    def make_durable(self, descriptor: int) -> None:
        """Fsync an open file or directory, blocking. Raises StoreUnavailable."""
        try:
            os.fsync(descriptor)
        except OSError as error:
            # The kernel may have dropped the dirty pages: a second fsync could succeed and mean nothing.
            self.healthy, self._suspect_until = False, self._monotonic() + _SUSPECT_SECONDS
            raise StoreUnavailable(f"the spool cannot be synced: {error.strerror}") from None
        self.healthy = True

    def make_names_durable(self, directory: Path) -> None:
        """Fsync a directory, blocking. Raises StoreUnavailable."""
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            self.healthy = False
            raise StoreUnavailable(f"the spool cannot be synced: {error.strerror}") from None
        try:
            self.make_durable(descriptor)
        finally:
            os.close(descriptor)

    def prove(self) -> bool:
        """Tell whether the spool takes mail, blocking, by writing as much as a small mail; after a failure also by a sync.

        Just after a failed sync only a mail that was synced proves it: one good sync of a probe would hide a disk that fails.
        """
        if not self.healthy and self._monotonic() < self._suspect_until:
            return False
        path = self.root / "probe"
        try:
            with open(path, "wb", buffering=0) as file:
                try:
                    if file.write(bytes(_A_MAIL)) != _A_MAIL:
                        self.healthy = False
                    elif not self.healthy:
                        self.make_durable(file.fileno())
                finally:
                    path.unlink(missing_ok=True)
        except (OSError, StoreUnavailable):
            self.healthy = False
        return self.healthy

    def store_received(self, id: str, content: bytes | Iterable[bytes]) -> str:
        """Write a received document durably, blocking, and return its path. Raises StoreUnavailable."""
        path = self.root / "received" / _fan(id) / id
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailable(f"the spool cannot be written: {error.strerror}") from None
        try:
            with open(descriptor, "wb", buffering=0) as file:
                for piece in (content,) if isinstance(content, bytes) else content:
                    rest = memoryview(piece)
                    while rest:
                        rest = rest[file.write(rest) :]
                self.make_durable(descriptor)
            self.make_names_durable(path.parent)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise StoreUnavailable(f"the spool cannot be written: {error.strerror}") from None
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return str(path.relative_to(self.root))

    def path(self, relpath: str) -> Path:
        """Return the absolute path of a spooled file. Raises NotFound for a path that leads out of the spool."""
        path = (self.root / relpath).absolute()
        if ".." in path.parts or not path.is_relative_to(self.root.absolute()):
            raise NotFound("no such file in the spool")
        return path

    def delete(self, relpath: str) -> None:
        """Remove a spooled file; one that is gone already is no error. Raises StoreUnavailable."""
        try:
            self.path(relpath).unlink(missing_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"the spool cannot be changed: {error.strerror}") from None

    def open_document(self, document: Document) -> DocumentReader:
        """Open a document's decoded content as a seekable binary file. Raises NotFound where its file is gone."""
        if not document.path:
            raise NotFound("the document was deleted (retention.documents)")
        try:
            file = io.FileIO(self.path(document.path))
        except FileNotFoundError:
            raise NotFound("the document's file is no longer in the spool") from None
        except OSError as error:
            raise StoreUnavailable(f"the spool cannot be read: {error.strerror}") from None
        return DocumentReader(file, document)
