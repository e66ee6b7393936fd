"""Opens what is in the spool by its path, be it a file or a stretch of a segment, and erases stretches."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
from pathlib import Path
from typing import Final

from mailbridge.errors import NotFound
from mailbridge.store.read_only_file import ReadOnlyFile
from mailbridge.store.spool_paths import Stretch, stretch_of

_PUNCH_HOLE, _KEEP_SIZE = 0x02, 0x01  # fallocate(2)
_ZEROS: Final = bytes(1 << 20)
_libc = ctypes.CDLL(None, use_errno=True)
# Its offsets have 64 bits everywhere. musl has only such ones, under the plain name.
_fallocate = getattr(_libc, "fallocate64", None) or _libc.fallocate


def path_in(root: Path, relpath: str) -> Path:
    """Return the absolute path of a file in the spool at `root`. Raises NotFound for a path outside the spool."""
    path = (root / relpath).absolute()
    if ".." in path.parts or not path.is_relative_to(root.absolute()):
        raise NotFound("no such file in the spool")
    return path


class StretchFile(ReadOnlyFile):
    """A stretch of a segment as a read-only file of its own: nothing before and behind it can be read. Raises OSError."""

    def __init__(self, segment: Path, stretch: Stretch) -> None:
        super().__init__(stretch.length)
        self._file, self._stretch = io.FileIO(segment), stretch

    def _piece(self, most: int) -> bytes:
        size = max(0, min(most, self._size - self._position))
        return os.pread(self._file.fileno(), size, self._stretch.start + self._position)

    def close(self) -> None:
        """Close the segment."""
        self._file.close()
        super().close()


def open_stored(root: Path, relpath: str) -> io.RawIOBase:
    """Open what a path names, for reading. Raises OSError, NotFound for a path outside the spool."""
    stretch = stretch_of(relpath)
    if stretch is None:
        return io.FileIO(path_in(root, relpath))
    return StretchFile(path_in(root, stretch.segment), stretch)


def open_descriptor(root: Path, relpath: str) -> int:
    """Open what a path names for a worker. It can read all of a file that it gets, so of a segment it gets a copy of the stretch.

    An absolute path is that of a mail in memory. Raises OSError.
    """
    if stretch_of(relpath) is None:
        return os.open(root / relpath, os.O_RDONLY | os.O_CLOEXEC)
    with open_stored(root, relpath) as file:
        copy = memory_file(file.read() or b"")
    try:
        # Another open file, which cannot be written.
        return os.open(f"/proc/self/fd/{copy}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(copy)


def memory_file(content: bytes | bytearray) -> int:
    """Return the descriptor of a file in memory with this content. Raises OSError."""
    descriptor = os.memfd_create("mail", os.MFD_CLOEXEC)
    try:
        write_all(descriptor, content)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def write_all(descriptor: int, data: bytes | bytearray) -> None:
    """Write all of `data`, blocking. Raises OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def delete_stored(root: Path, relpath: str) -> Path:
    """Delete what a path names; return the file or directory that must be synced for it. Raises OSError, NotFound."""
    stretch = stretch_of(relpath)
    if stretch is not None:
        segment = path_in(root, stretch.segment)
        erase(segment, stretch)
        return segment
    path = path_in(root, relpath)
    path.unlink(missing_ok=True)
    return path.parent


def erase(segment: Path, stretch: Stretch) -> None:
    """Erase a stretch and free its place on the disk, blocking; a sync of the segment makes that durable. Raises OSError."""
    with contextlib.suppress(FileNotFoundError), open(segment, "r+b", buffering=0) as file:
        where = ctypes.c_longlong(stretch.start), ctypes.c_longlong(stretch.length)
        if _fallocate(file.fileno(), _PUNCH_HOLE | _KEEP_SIZE, *where) == 0:
            return
        # A file system without holes. What is behind the file's end is nobody's.
        left = min(stretch.length, os.fstat(file.fileno()).st_size - stretch.start)
        file.seek(stretch.start)
        while left > 0:
            left -= file.write(_ZEROS[:left])
