"""Segments: files to which small mails are appended, all that wait by one write and one sync.

A file for each mail costs an O_CREAT, which waits for the file system's journal, a sync, and a sync of the directory. Each mail
begins at a multiple of 4,096 bytes: so mails share no block, and a write that fails harms none that is durable already.

A segment belongs to the daemon that created it: the next one begins others. After any error it is cut to what was durable and
never written again, because after a failed sync the kernel may have dropped data of it.

A segment goes when the last of its mails goes: see `free`.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

from mailbridge.errors import StoreUnavailable
from mailbridge.model import new_id
from mailbridge.store.disk_errors import fault
from mailbridge.store.spool_paths import SEGMENT, Stretch
from mailbridge.store.stored_files import erase

SIZE: Final = 16 << 20  # bytes after which a segment is full
_BLOCK: Final = 4096  # bytes


class Appended(Protocol):
    """A mail that waits to be appended."""

    pieces: Sequence[bytes | bytearray]
    is_aborted: bool

    def place(self, segment: Segment, stretch: Stretch) -> None: ...


class Segment:
    """One file. Its attributes are changed under the lock of `Segments`."""

    def __init__(self, root: Path, relpath: str) -> None:
        self.path, self.relpath = root / relpath, relpath
        self.descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.close = weakref.finalize(self, os.close, self.descriptor)
        self.end = 0  # of what is durable
        self.is_open, self.is_in_use = True, True  # for more mails; by a thread
        self.unsettled = 0  # mails of which it is not known whether a record names them
        self.kept = 0  # mails that a record names, or named

    def write(self, mails: Sequence[Appended]) -> tuple[list[Stretch], int]:
        """Write mails behind the end, blocking; return where they are, and the new end. Raises OSError."""
        stretches, pieces, end = list[Stretch](), list[bytes | bytearray](), self.end
        for mail in mails:
            length = sum(map(len, mail.pieces))
            stretches.append(Stretch(self.relpath, end, length))
            pieces += [*mail.pieces, bytes(-length % _BLOCK)]
            end += length + -length % _BLOCK
        written = os.pwritev(self.descriptor, pieces, self.end)
        if written < end - self.end:  # what was not written by one call: the disk is full, or the reason is another
            rest = b"".join(pieces)[written:]
            while rest:
                rest = rest[os.pwrite(self.descriptor, rest, end - len(rest)) :]
        return stretches, end

    def cut(self) -> None:
        """Remove what is behind the durable end, where the disk lets it."""
        with contextlib.suppress(OSError):
            os.ftruncate(self.descriptor, self.end)


class Segments:
    """The segments of a spool at `root`. `directory_of` returns the directory for an id, relative to it.

    `make_durable` and `make_names_durable` sync a descriptor and a directory, and raise StoreUnavailable; `failed` is called
    after a failed write.
    """

    def __init__(
        self,
        root: Path,
        directory_of: Callable[[str], str],
        make_durable: Callable[[int], None],
        make_names_durable: Callable[[Path], None],
        failed: Callable[[], None],
    ) -> None:
        self._root, self._directory_of, self._failed = root, directory_of, failed
        self._make_durable, self._make_names_durable = make_durable, make_names_durable
        self._lock = threading.Lock()
        self._known: dict[str, Segment] = {}  # those that are open, or have unsettled mails

    def append(self, mails: Sequence[Appended]) -> list[Exception | None]:
        """Append mails and make them durable, blocking; return the error of each, or None."""
        wanted = [mail for mail in mails if not mail.is_aborted]
        error = self._append(wanted) if wanted else None
        aborted = StoreUnavailable("the mail was aborted")
        return [error if mail in wanted else aborted for mail in mails]

    def _append(self, mails: Sequence[Appended]) -> Exception | None:
        try:
            segment, is_new = self._take()
        except OSError as error:
            self._failed()
            return StoreUnavailable(f"the spool cannot be written: {fault(error)}")
        try:
            stretches, end = segment.write(mails)
            self._make_durable(segment.descriptor)
            if is_new:
                self._make_names_durable(segment.path.parent)
        except Exception as error:
            segment.cut()
            self._give_back(segment, is_open=False)
            if not isinstance(error, OSError):
                return error
            self._failed()
            return StoreUnavailable(f"the spool cannot be written: {fault(error)}")
        with self._lock:
            segment.end = end
            segment.unsettled += len(mails)
        for mail, stretch in zip(mails, stretches, strict=True):
            mail.place(segment, stretch)
        self._give_back(segment, is_open=end < SIZE)
        return None

    def _take(self) -> tuple[Segment, bool]:
        """Return a segment that no other thread uses, and whether it is new. Raises OSError."""
        with self._lock:
            for segment in self._known.values():
                if segment.is_open and not segment.is_in_use:
                    segment.is_in_use = True
                    return segment, False
        id = new_id("seg")
        segment = Segment(self._root, f"{self._directory_of(id)}/{id}{SEGMENT}")
        with self._lock:
            self._known[segment.relpath] = segment
        return segment, True

    def _give_back(self, segment: Segment, *, is_open: bool) -> None:
        with self._lock:
            segment.is_in_use = False
            segment.is_open = segment.is_open and is_open
            self._tidy(segment)

    def settle(self, segment: Segment, *, kept: bool) -> None:
        """Note that a mail's record is durable (`kept`), or that there is none."""
        with self._lock:
            segment.unsettled -= 1
            segment.kept += kept
            self._tidy(segment)

    def discard(self, segment: Segment, stretch: Stretch) -> None:
        """Erase a mail that no record names."""
        with contextlib.suppress(OSError):
            erase(segment.path, stretch)
        self.settle(segment, kept=False)

    def _tidy(self, segment: Segment) -> None:
        """Close what is not written any more, and delete a segment of which no mail was kept."""
        if segment.is_in_use or segment.unsettled:
            return
        if not segment.kept:
            segment.is_open = False
            with contextlib.suppress(OSError):
                segment.path.unlink(missing_ok=True)
        if not segment.is_open:
            self._known.pop(segment.relpath, None)
            segment.close()

    def retire(self, relpath: str) -> bool:
        """Append to a segment no more, and return whether the records decide by now what is in it.

        A segment that no record names after that may be deleted.
        """
        with self._lock:
            segment = self._known.get(relpath)
            if segment is not None:
                segment.is_open = False
                self._tidy(segment)
            return relpath not in self._known
