"""Bodies: mails, what was derived from them, and received documents, wherever they are kept. Five verbs are all there is.

A body is written once, as a whole, and never changed. It is durable before a record names it, so a body without a record is what
a crash has left, and is deleted when it is old.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import BinaryIO, Protocol


class Bodies(Protocol):
    """Bodies by their names, such as `mail/3f/env_….eml`. Every method blocks, and raises StoreUnavailable."""

    def put(self, name: str, pieces: Iterable[bytes]) -> int:
        """Store a body durably, all of it or nothing; return its size in bytes. One with this name is replaced."""

    def open(self, name: str, start: int = 0, length: int | None = None) -> BinaryIO:
        """Open a body from the byte `start` on, `length` bytes or to its end, for reading and seeking. Raises NotFound."""

    def size(self, name: str) -> int:
        """Return the size of a body in bytes. Raises NotFound."""

    def delete(self, names: Collection[str]) -> None:
        """Delete these bodies durably; those that are not there are passed over."""

    def older_than(self, moment: datetime, after: str = "", limit: int = 1000) -> list[str]:
        """Return names of bodies that were stored before `moment`, in their order, those behind `after`."""
