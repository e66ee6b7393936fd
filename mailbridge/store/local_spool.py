"""The spool as a directory: mails and received documents as files, made durable on request, and read back decoded.

`root/mail/XX/ID.eml` is a mail as received. `ID.derived` beside it is what was made of the mail: the page of its text, files that
were packed in it, converted pictures. A small mail shares `root/mail/XX/ID.segment` with others, and has what was derived from it
behind it (see `segments`). `root/received/XX/ID` is a received document, and `ID.2` the second of the same fax. XX
spreads the files over directories, because some file systems are slow to create a file in a directory with many deleted entries.
XX depends on the half minute in the id: mails received together share a directory, which is synced once for all of them. Paths
are relative to the root.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from mailbridge.errors import NotFound, StoreUnavailable
from mailbridge.model import Document
from mailbridge.store.arriving_mail import ArrivingMail
from mailbridge.store.buffered_mail import MEMORY
from mailbridge.store.disk_errors import fault
from mailbridge.store.document_reader import DocumentReader
from mailbridge.store.fsync import sync, sync_directory
from mailbridge.store.segments import Segments
from mailbridge.store.spool_file import SpoolFile
from mailbridge.store.spool_paths import DIRECTORIES, derived_path, file_of, mail_directory, mail_path, received_path, stretch_of
from mailbridge.store.stored_documents import open_document
from mailbridge.store.stored_files import delete_stored, open_descriptor, open_stored, path_in, write_all
from mailbridge.store.sync_batches import SyncBatches, sync_files
from mailbridge.store.written_file import BulkThreads

# Bytes of a small mail.
_SMALL_MAIL = 1 << 16
# Bytes of a file that is synced apart: small mails do not wait for it.
_LARGE_FILE = 1 << 20
# Seconds after a failed fsync in which a good one of a probe proves nothing.
_SUSPECT_SECONDS = 10.0


def _close_all(directories: dict[Path, int]) -> None:
    while directories:
        os.close(directories.popitem()[1])


class LocalSpool:
    """The directory of spooled files. `healthy` becomes False after a failed write or fsync, and True after the next good fsync.

    `memory` is how many more bytes of arriving mails may be in memory. Creates the directories. `monotonic` returns seconds.
    Raises StoreUnavailable.
    """

    is_swept = False

    def __init__(self, root: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.root, self._monotonic = root, monotonic
        self.healthy, self._suspect_until = True, 0.0
        self.memory = MEMORY
        sync_all = partial(sync_files, self.make_names_durable)
        self._small_files: SyncBatches[SpoolFile] = SyncBatches(sync_all, threads=3, mails=16)
        self._large_files: SyncBatches[SpoolFile] = SyncBatches(sync_all, threads=2, mails=1)
        self.segments = Segments(root, mail_directory, self.make_durable, self.make_names_durable, self.note_failure)
        self._appended: SyncBatches[ArrivingMail] = SyncBatches(self.segments.append, threads=2, mails=64)
        self.bulk_threads = BulkThreads()
        self._open_directories: dict[Path, int] = {}
        self._opening = threading.Lock()
        weakref.finalize(self, _close_all, self._open_directories)
        try:
            for kind in ("mail", "received"):
                for number in range(DIRECTORIES):
                    (root / kind / f"{number:02x}").mkdir(mode=0o700, parents=True, exist_ok=True)
                sync_directory(root / kind)
            sync_directory(root)
        except OSError as error:
            raise StoreUnavailable(f"the spool cannot be created: {fault(error)}") from None

    def create(self, id: str) -> SpoolFile:
        """Create the file of the mail with this envelope id, mode 0600, under its final name. Raises StoreUnavailable."""
        try:
            return SpoolFile(self, self.root / mail_path(id))
        except OSError as error:
            self.healthy = False
            raise StoreUnavailable(f"the spool cannot be written: {fault(error)}") from None

    def receive(self, id: str, announced: int = 0) -> ArrivingMail:
        """Begin a mail that arrives in the event loop: it stays in memory while it is small, and is not announced as large."""
        return ArrivingMail(self, id, announced)

    def append(self, mail: ArrivingMail) -> asyncio.Future[None]:
        """Make a small mail durable, in one batch with the others that wait for it."""
        return self._appended.add(mail)

    def note_failure(self) -> None:
        """Note that a write failed."""
        self.healthy = False

    async def store_derived(self, mail: SpoolFile, content: bytes) -> None:
        """Write what was derived from a mail to its `derived_path`, durably. It is deleted with the mail.

        Large content is written in a thread. Raises StoreUnavailable; the file is then deleted.
        """
        try:
            derived = SpoolFile(self, self.root / derived_path(mail.relpath))
        except OSError as error:
            self.healthy = False
            raise StoreUnavailable(f"the spool cannot be written: {fault(error)}") from None
        try:
            if len(content) > _SMALL_MAIL:
                await asyncio.to_thread(derived.write, content)
            else:
                derived.write(content)
            await derived.commit()
        except BaseException:
            derived.abort()
            raise

    def sync_with_others(self, file: SpoolFile) -> asyncio.Future[None]:
        """Make a file and its name durable, in one batch with the other files that wait for it."""
        return (self._large_files if file.size > _LARGE_FILE else self._small_files).add(file)

    def make_durable(self, descriptor: int) -> None:
        """Fsync an open file or directory, blocking. Raises StoreUnavailable."""
        try:
            os.fsync(descriptor)
        except OSError as error:
            # The kernel may have dropped the dirty pages: a second fsync could succeed without writing them.
            self.healthy, self._suspect_until = False, self._monotonic() + _SUSPECT_SECONDS
            raise StoreUnavailable(f"the spool cannot be synced: {fault(error)}") from None
        self.healthy = True

    def make_names_durable(self, directory: Path) -> None:
        """Fsync a directory, blocking. Raises StoreUnavailable."""
        self.make_durable(self._descriptor_of(directory))

    def _descriptor_of(self, directory: Path) -> int:
        """Return an open descriptor of one of the spool's directories. It is opened once, and closed with the spool."""
        with self._opening:
            if directory not in self._open_directories:
                try:
                    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                except OSError as error:
                    self.healthy = False
                    raise StoreUnavailable(f"the spool cannot be synced: {fault(error)}") from None
                self._open_directories[directory] = descriptor
            return self._open_directories[directory]

    def probe(self) -> bool:
        """Return whether mail can be spooled, blocking, by writing as much as a small mail; after a failure also by an fsync.

        Just after a failed fsync only a mail that is synced can prove it: one good fsync of a probe would hide a failing disk.
        """
        if not self.healthy and self._monotonic() < self._suspect_until:
            return False
        path = self.root / "probe"
        try:
            with open(path, "wb", buffering=0) as file:
                try:
                    if file.write(bytes(_SMALL_MAIL)) != _SMALL_MAIL:
                        self.healthy = False
                    elif not self.healthy:
                        self.make_durable(file.fileno())
                finally:
                    path.unlink(missing_ok=True)
        except (OSError, StoreUnavailable):
            self.healthy = False
        return self.healthy

    def store_received(self, name: str, content: bytes | Iterable[bytes]) -> str:
        """Write a received document durably, blocking, and return its path; `name` is by `received_name`.

        Raises StoreUnavailable; the file is then deleted.
        """
        path = self.root / received_path(name)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailable(f"the spool cannot be written: {fault(error)}") from None
        try:
            with open(descriptor, "wb", buffering=0):
                for piece in (content,) if isinstance(content, bytes) else content:
                    write_all(descriptor, piece)
                self.make_durable(descriptor)
            self.make_names_durable(path.parent)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise StoreUnavailable(f"the spool cannot be written: {fault(error)}") from None
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return str(path.relative_to(self.root))

    def path(self, relpath: str) -> Path:
        """Return the absolute path of a spooled file. Raises NotFound for a path outside the spool."""
        return path_in(self.root, relpath)

    def open(self, path: str) -> io.RawIOBase:
        """See `Spool.open`."""
        return open_stored(self.root, path)

    async def open_to_upload(self, document: Document) -> DocumentReader:
        """See `Spool.open_to_upload`."""
        return self.open_document(document)

    async def fetch(self, path: str) -> None:
        """See `Spool.fetch`."""
        if not self.path(file_of(path)).exists():
            raise NotFound("the document's file is no longer in the spool")

    def open_descriptor(self, path: str) -> int:
        """See `Spool.open_descriptor`."""
        return open_descriptor(self.root, path)

    def delete(self, path: str) -> None:
        """Delete a spooled file, if it exists. Raises StoreUnavailable."""
        try:
            self.path(path).unlink(missing_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"the spool cannot be changed: {error.strerror}") from None

    def delete_all(self, wanted: Mapping[str, Sequence[str]]) -> set[str]:
        """Unlink the files of each key, or erase the stretches, blocking; return the keys of which all is gone.

        It stays so after a power failure. A key with a file that cannot be deleted is left out. Raises StoreUnavailable if a
        directory or a segment cannot be synced.
        """
        gone: set[str] = set()
        changed: set[Path] = set()
        for key, relpaths in wanted.items():
            with contextlib.suppress(OSError, NotFound):
                changed |= {delete_stored(self.root, relpath) for relpath in relpaths}
                gone.add(key)
        try:
            for path in filter(Path.exists, changed):
                sync(path)
        except OSError as error:
            raise StoreUnavailable(f"the spool cannot be synced: {error.strerror}") from None
        return gone

    def retire_segments(self, deleted: Iterable[str]) -> list[str]:
        """See `Spool.retire_segments`."""
        touched = {stretch.segment for path in deleted if (stretch := stretch_of(path))}
        return [path for path in touched if self.segments.retire(path)]

    def open_document(self, document: Document) -> DocumentReader:
        """Open a document's decoded content as a seekable binary file. Raises NotFound (deleted), StoreUnavailable."""
        return document_in(self.root, document)

    async def close(self) -> None:
        """Do nothing: everything is durable."""


def document_in(root: Path, document: Document) -> DocumentReader:
    """Open a document in the spool at `root`; see `Spool.open_document`, which does not change the spool either."""
    return open_document(partial(open_stored, root), document)
