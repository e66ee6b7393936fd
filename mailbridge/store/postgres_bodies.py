"""Bodies in PostgreSQL: rows of 256 KiB, which neither this process nor the server ever has in memory as a whole.

A single value of 40 MB costs both of them more than a hundred megabytes, and large objects are slower. A body is stored in one
transaction: whoever ends before it is complete has stored nothing.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, BinaryIO, Final, cast

from sqlalchemy import Connection, Engine, LargeBinary, TextClause, bindparam, text
from sqlalchemy.exc import DBAPIError

from mailbridge.errors import NotFound
from mailbridge.store.postgres_faults import PostgresFaults
from mailbridge.store.rivals import NOW
from mailbridge.store.schema import Instant

PIECE: Final = 1 << 18

_ADD: Final = text(f"INSERT INTO body (name, size, stored_at) VALUES (:name, :size, {NOW})")
_ADD_PIECE: Final = text("INSERT INTO body_piece (name, n, bytes) VALUES (:name, :n, :bytes)").bindparams(
    bindparam("bytes", type_=LargeBinary)
)
_DELETE: Final = tuple(
    text(f"DELETE FROM {table} WHERE name IN :names").bindparams(bindparam("names", expanding=True))
    for table in ("body_piece", "body")
)
_SIZE: Final = text("SELECT size FROM body WHERE name = :name")
_PIECE: Final = text("SELECT bytes FROM body_piece WHERE name = :name AND n = :n")
_OLDER: Final = text("SELECT name FROM body WHERE stored_at < :moment AND name > :after ORDER BY name LIMIT :limit").bindparams(
    bindparam("moment", type_=Instant)
)


class PostgresBodies:
    """See `store.bodies.Bodies`. `engine` has connections for bodies alone: a large one must not hold a commit up."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def put(self, name: str, pieces: Iterable[bytes]) -> int:
        with self._transaction() as connection:
            self._delete(connection, [name])
            size = 0
            for n, piece in enumerate(_of_equal_size(pieces)):
                connection.execute(_ADD_PIECE, {"name": name, "n": n, "bytes": piece})
                size += len(piece)
            connection.execute(_ADD, {"name": name, "size": size})
        return size

    def open(self, name: str, start: int = 0, length: int | None = None) -> BinaryIO:
        end = self.size(name)
        reader = _Reader(lambda n: self._piece(name, n), start, end if length is None else min(end, start + length))
        return cast(BinaryIO, io.BufferedReader(reader, PIECE))

    def size(self, name: str) -> int:
        return int(self._value(_SIZE, name=name))

    def _piece(self, name: str, n: int) -> bytes:
        return bytes(self._value(_PIECE, name=name, n=n))

    def _value(self, question: TextClause, **values: object) -> Any:
        with self._transaction() as connection:
            found = connection.execute(question, values).scalar()
        if found is None:
            raise NotFound("no such body in the database")
        return found

    def delete(self, names: Collection[str]) -> None:
        with self._transaction() as connection:
            self._delete(connection, names)

    def _delete(self, connection: Connection, names: Collection[str]) -> None:
        if names:
            for statement in _DELETE:
                connection.execute(statement, {"names": list(names)})

    def older_than(self, moment: datetime, after: str = "", limit: int = 1000) -> list[str]:
        with self._transaction() as connection:
            return list(connection.scalars(_OLDER, {"moment": moment, "after": after, "limit": limit}))

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        committing = False
        try:
            with self._engine.begin() as connection:
                yield connection
                committing = True
        except DBAPIError as error:
            raise PostgresFaults().unavailable(error, committing=committing) from None


def _of_equal_size(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the same bytes in pieces of PIECE bytes; the last one may be shorter."""
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        while len(waiting) >= PIECE:
            yield bytes(waiting[:PIECE])
            del waiting[:PIECE]
    if waiting:
        yield bytes(waiting)


class _Reader(io.RawIOBase):
    """The bytes from `start` to before `end` as a file, a piece at a time. `piece` returns the nth one."""

    def __init__(self, piece: Callable[[int], bytes], start: int, end: int) -> None:
        self._piece, self._start, self._end = piece, min(start, end), end
        self._position = self._start
        self._held: tuple[int, bytes] = (-1, b"")

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position, in bytes behind `start`."""
        return self._position - self._start

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position."""
        base = {io.SEEK_SET: self._start, io.SEEK_CUR: self._position, io.SEEK_END: self._end}[whence]
        if base + offset < self._start:
            raise ValueError("negative seek position")
        self._position = base + offset
        return self.tell()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # RawIOBase accepts any buffer, callers pass memoryview
        """Fill `buffer` from one piece; return the number of bytes, 0 at the end."""
        n, skipped = divmod(self._position, PIECE)
        wanted = min(len(buffer), self._end - self._position)
        if wanted <= 0:
            return 0
        if self._held[0] != n:
            self._held = n, self._piece(n)
        found = memoryview(self._held[1])[skipped : skipped + wanted]
        memoryview(buffer).cast("B")[: len(found)] = found
        self._position += len(found)
        return len(found)
