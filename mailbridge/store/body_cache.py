"""The directory of a node that shares its bodies with others: a cache of them, and scratch for mails that arrive.

Nothing here is durable or needed. Whatever is missing is read from the database, so the directory may be emptied at any time, and
a start empties it: after a power failure a file may have lost its content. A body's file has its quoted name.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from mailbridge import log
from mailbridge.errors import StoreUnavailable
from mailbridge.model import new_id
from mailbridge.store.bodies import Bodies
from mailbridge.store.disk_errors import fault, is_full
from mailbridge.store.scratch_file import ScratchFile
from mailbridge.store.stored_files import memory_file, write_all
from mailbridge.store.written_file import BulkThreads

# Bytes of bodies, with _FOR_EACH more for each, and seconds since one was used last.
MOST_BYTES: Final = 1 << 30
OLDEST: Final = 24 * 3600.0
_FOR_EACH: Final = 1 << 16  # so there are at most 16,384 files, which are looked at each minute
# Names in one question to the database.
_BATCH: Final = 500
_CHUNK: Final = 1 << 18
_MOST_IN_MEMORY: Final = 8 << 20  # bytes of a body, where the cache cannot be written
# Seconds between looks at how full the cache is, and between cleanings.
_LOOK, _CLEAN = 5.0, 60.0
_SCRATCH: Final = ".part"
_PROBE: Final = 1 << 16  # bytes


class _Cached(NamedTuple):
    path: Path
    size: int
    used: float  # seconds since 1970


class BodyCache:
    """The cache of `bodies` in the directory `root`, at most so many bytes, which were used in the last so many seconds.

    Raises StoreUnavailable.
    """

    def __init__(self, root: Path, bodies: Bodies, most: int = MOST_BYTES, oldest: float = OLDEST) -> None:
        self.root, self._bodies, self._most, self._oldest = root, bodies, most, oldest
        self._threads = BulkThreads()
        self._prefix = f"{root}/"
        self._incomplete = set[str]()  # files that the event loop is writing
        self._added = 0  # bytes since the last `clean`, roughly
        self._is_writable = True
        self._cleaning = threading.Lock()
        try:
            self._make_root()
            self.empty()
        except OSError as error:
            raise StoreUnavailable(f"the cache {root} cannot be created: {fault(error)}") from None

    def _make_root(self) -> None:
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _file(self, name: str) -> str:
        return f"{self._prefix}{quote(name, safe='')}"

    def scratch(self, id: str) -> ScratchFile:
        """Begin a mail that arrives. Raises StoreUnavailable."""
        path = self.root / f"{id}{_SCRATCH}"
        for again in (True, False):
            try:
                return ScratchFile(path, self._threads, self.empty)
            except OSError as error:
                if not (again and (isinstance(error, FileNotFoundError) or is_full(error))):
                    raise StoreUnavailable(f"the spool cannot be written: {fault(error)}") from None
            with contextlib.suppress(OSError):
                self._make_root()
                self.empty()
        raise AssertionError("the second error is raised")

    def add(self, name: str, pieces: Sequence[bytes | bytearray]) -> None:
        """Keep a small body here, where the disk lets it. Quick, for the event loop: without another name until it is whole."""
        path = self._file(name)
        self._incomplete.add(path)
        try:
            with self._problems_noted():
                self._add(path, pieces)
        finally:
            self._incomplete.discard(path)

    def _add(self, path: str, pieces: Sequence[bytes | bytearray]) -> None:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:  # somebody has deleted the directory
            self._make_root()
            return
        try:
            for piece in pieces:
                write_all(descriptor, piece)
                self._added += len(piece)
            self._added += _FOR_EACH
        except OSError:
            os.unlink(path)
            raise
        finally:
            os.close(descriptor)

    def adopt(self, name: str, scratch: ScratchFile) -> None:
        """Keep a mail that has arrived here as the body that it is."""
        with self._problems_noted():
            scratch.move(self._file(name))
            self._added += scratch.size + _FOR_EACH
            return
        scratch.abort()

    def open(self, name: str) -> io.RawIOBase:
        """Open a body here, or in the database if it cannot be written here. Raises NotFound, StoreUnavailable."""
        with contextlib.suppress(OSError):
            return io.FileIO(self._cached(name))
        body = self._bodies.open(name)
        with self._problems_noted():
            return io.FileIO(self._write(name, _chunks(body)))
        body.seek(0)
        return body

    def open_here(self, name: str) -> io.RawIOBase:
        """Open a body on this machine: in memory where the disk does not take it. Raises NotFound, StoreUnavailable."""
        body = self.open(name)
        if isinstance(body, io.FileIO):
            return body
        size = body.seek(0, io.SEEK_END)
        if size > _MOST_IN_MEMORY:
            raise StoreUnavailable("the cache cannot be written, and a document of this size needs it; make room in state_dir")
        body.seek(0)
        file = io.FileIO(memory_file(b""), "r+")
        for chunk in _chunks(body):
            file.write(chunk)
        file.seek(0)
        return file

    def descriptor(self, name: str) -> int:
        """Open a body here. Raises NotFound, StoreUnavailable."""
        with contextlib.suppress(OSError):
            return self._cached(name)
        try:
            return self._write(name, _chunks(self._bodies.open(name)))
        except OSError as error:
            raise StoreUnavailable(f"the cache cannot be written: {fault(error)}") from None

    def _cached(self, name: str) -> int:
        path = self._file(name)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        if path in self._incomplete:
            os.close(descriptor)
            raise FileNotFoundError
        with contextlib.suppress(OSError):
            os.utime(descriptor)  # it was used
        return descriptor

    def _write(self, name: str, pieces: Iterable[bytes | bytearray]) -> int:
        """Write a body whole, and return its descriptor at the start. Raises OSError, and what the pieces raise."""
        path = self.root / f"{new_id('tmp')}{_SCRATCH}"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:  # somebody has deleted the directory
            self._make_root()
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        size = 0
        try:
            for piece in pieces:
                write_all(descriptor, piece)
                size += len(piece)
            os.rename(path, self._file(name))
            self._added += size + _FOR_EACH
            os.lseek(descriptor, 0, os.SEEK_SET)
        except BaseException:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        return descriptor

    @contextlib.contextmanager
    def _problems_noted(self) -> Iterator[None]:
        """Go on without the cache where the disk does not take a body."""
        try:
            yield
            self._is_writable = True
        except FileNotFoundError:
            pass  # somebody has emptied the directory meanwhile
        except OSError as error:
            if self._is_writable:
                log.cache_unusable("spool", error=fault(error))
            self._is_writable = False

    def forget(self, names: Iterable[str]) -> None:
        """Delete what is kept here of these bodies."""
        for name in names:
            with contextlib.suppress(OSError):
                os.unlink(self._file(name))

    def probe(self) -> bool:
        """Return whether a mail that is not small can be received, by writing as much as a small one."""
        path = self.root / f"probe{_SCRATCH}"
        for make_room in (True, False):
            try:
                self._make_root()
                with open(path, "wb", buffering=0) as file:
                    whole = file.write(bytes(_PROBE)) == _PROBE
                path.unlink(missing_ok=True)
            except OSError:
                whole = False
            if whole:
                return True
            if make_room:
                self.empty()
        return False

    async def run(self) -> None:
        """Clean it every minute, and sooner when much was added, until cancelled."""
        waited = _CLEAN
        while True:
            if waited >= _CLEAN or self.is_overfull:
                waited = 0.0
                try:
                    await asyncio.to_thread(self.clean)
                except StoreUnavailable as error:
                    log.store_unavailable("cache", error=str(error))
            await asyncio.sleep(_LOOK)
            waited += _LOOK

    @property
    def is_overfull(self) -> bool:
        """Whether so much was added since the last `clean` that it should be called now."""
        return self._added > self._most // 8

    def clean(self) -> None:
        """Delete what was not used for long, what is too much, and what the database has no more. Raises StoreUnavailable."""
        with self._cleaning:
            self._added = 0
            now, held = time.time(), sorted(self._held(), key=lambda one: one.used, reverse=True)
            room, kept = self._most, list[_Cached]()
            for one in held:
                room -= one.size + _FOR_EACH
                if room >= 0 and one.used >= now - self._oldest:
                    kept.append(one)
                else:
                    _unlink(one.path)
            self._delete_gone([one.path for one in kept if not one.path.name.endswith(_SCRATCH)])

    def _delete_gone(self, paths: Sequence[Path]) -> None:
        """Delete what retention has deleted meanwhile: a cache must not keep a document for longer."""
        for start in range(0, len(paths), _BATCH):
            by_name = {unquote(path.name): path for path in paths[start : start + _BATCH]}
            for name in by_name.keys() - self._bodies.existing(by_name.keys()):
                _unlink(by_name[name])

    def empty(self) -> None:
        """Delete every body that is kept here, and what a crash has left. Mails that arrive go on: they are open."""
        for one in self._held():
            _unlink(one.path)

    def _held(self) -> Iterator[_Cached]:
        with contextlib.suppress(OSError), os.scandir(self.root) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.is_file(follow_symlinks=False):
                        facts = entry.stat(follow_symlinks=False)
                        yield _Cached(Path(entry.path), facts.st_size, facts.st_mtime)


def _unlink(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _chunks(body: io.RawIOBase) -> Iterator[bytes]:
    while chunk := body.read(_CHUNK):
        yield chunk
