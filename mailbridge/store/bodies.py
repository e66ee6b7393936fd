"""Bodies: mails with what was derived from them, and received documents, in a database that several nodes share.

A body is written once, as a whole, and never changed. It is durable before a record names it, so a body without a record is what
a crash has left, and is deleted when it is old.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import NamedTuple, Protocol


class UnnamedPart(NamedTuple):
    """Names of bodies without a record, and the name of the last body that was looked at, None behind the end."""

    names: list[str]
    last: str | None


class Bodies(Protocol):
    """Bodies by their names, such as `mail/3f/env_….eml`. Every method blocks, and raises StoreUnavailable."""

    def put(self, name: str, pieces: Iterable[bytes]) -> int:
        """Store a body durably, all of it or nothing; return its size in bytes. One with this name is replaced."""

    def open(self, name: str, start: int = 0, length: int | None = None) -> io.RawIOBase:
        """Open a body from the byte `start` on, `length` bytes or to its end, for reading and seeking. Raises NotFound."""

    def size(self, name: str) -> int:
        """Return the size of a body in bytes. Raises NotFound."""

    def existing(self, names: Collection[str]) -> set[str]:
        """Return which of these bodies there are."""

    def delete(self, names: Collection[str], before: datetime | None = None) -> list[str]:
        """Delete these bodies durably, or those of them stored before a time; return the names of what was deleted."""

    def unnamed(self, since: datetime, before: datetime, after: str = "", limit: int = 2000) -> UnnamedPart:
        """Look at the next bodies behind the name `after`: which of them belong to no mail, event or pending deletion?

        Only those that were stored from `since` to `before` count.
        """
