"""Bodies in PostgreSQL: rows of 256 KiB, which neither this process nor the server ever has in memory as a whole.

A single value of 40 MB costs both of them more than a hundred megabytes, and large objects are slower. A body is stored in one
transaction: whoever ends before it is complete has stored nothing.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Engine, LargeBinary, TextClause, bindparam, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnection

from mailbridge.errors import NotFound, StoreUnavailable
from mailbridge.store.bodies import UnnamedPart
from mailbridge.store.body_rows import PIECE
from mailbridge.store.postgres_faults import PostgresFaults
from mailbridge.store.read_only_file import ReadOnlyFile
from mailbridge.store.rivals import NOW
from mailbridge.store.schema import Instant

_ADD: Final = text(f"INSERT INTO body (name, size, stored_at) VALUES (:name, :size, {NOW})")
_ADD_PIECE: Final = text("INSERT INTO body_piece (name, n, bytes) VALUES (:name, :n, :bytes)").bindparams(
    bindparam("bytes", type_=LargeBinary)
)
_MOMENTS: Final = {name: bindparam(name, type_=Instant) for name in ("since", "before")}
_DELETE: Final = text("DELETE FROM body WHERE name = ANY(:names) RETURNING name")
_DELETE_OLD: Final = text("DELETE FROM body WHERE name = ANY(:names) AND stored_at < :before RETURNING name").bindparams(
    _MOMENTS["before"]
)
_DELETE_PIECES: Final = text("DELETE FROM body_piece WHERE name = ANY(:names)")
_SIZE: Final = text("SELECT size FROM body WHERE name = :name")
_PIECE: Final = text("SELECT bytes FROM body_piece WHERE name = :name AND n = :n")
_EXISTING: Final = text("SELECT name FROM body WHERE name = ANY(:names)")
# The second document of a received fax is known by the name of the first (`spool_paths.received_owner`).
_UNNAMED: Final = text("""
    WITH part AS (SELECT name, stored_at FROM body WHERE name > :after ORDER BY name LIMIT :limit)
    SELECT (SELECT max(name) FROM part), ARRAY(
        SELECT name FROM part WHERE stored_at >= :since AND stored_at < :before
        AND NOT EXISTS (SELECT FROM envelope WHERE path = part.name)
        AND NOT EXISTS (SELECT FROM event WHERE document IN (part.name, split_part(part.name, '.', 1)))
        AND NOT EXISTS (SELECT FROM pending_deletion WHERE path IN (part.name, split_part(part.name, '.', 1)))
        ORDER BY name)""").bindparams(*_MOMENTS.values())


class PostgresBodies:
    """See `store.bodies.Bodies`. `engine` has connections for bodies alone: a large one must not hold a commit up."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def put(self, name: str, pieces: Iterable[bytes]) -> int:
        with self._transaction() as connection:
            self._delete(connection, _DELETE, names=[name])
            size = 0
            for n, piece in enumerate(_of_equal_size(pieces)):
                connection.execute(_ADD_PIECE, {"name": name, "n": n, "bytes": piece})
                size += len(piece)
            connection.execute(_ADD, {"name": name, "size": size})
        return size

    def open(self, name: str, start: int = 0, length: int | None = None) -> io.RawIOBase:
        end = self.size(name)
        return _Reader(lambda n: self._piece(name, n), start, end if length is None else min(end, start + length))

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

    def existing(self, names: Collection[str]) -> set[str]:
        with self._transaction() as connection:
            return set(connection.scalars(_EXISTING, {"names": list(names)}))

    def delete(self, names: Collection[str], before: datetime | None = None) -> list[str]:
        if not names:
            return []
        with self._transaction() as connection:
            if before is None:
                return self._delete(connection, _DELETE, names=list(names))
            return self._delete(connection, _DELETE_OLD, names=list(names), before=before)

    def _delete(self, connection: Connection, statement: TextClause, **values: object) -> list[str]:
        deleted = list(connection.scalars(statement, values))
        if deleted:
            connection.execute(_DELETE_PIECES, {"names": deleted})
        return deleted

    def unnamed(self, since: datetime, before: datetime, after: str = "", limit: int = 2000) -> UnnamedPart:
        values = {"since": since, "before": before, "after": after, "limit": limit}
        with self._transaction() as connection:
            last, names = connection.execute(_UNNAMED, values).one()
        return UnnamedPart(list(names), last)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        committing = False
        try:
            with self._engine.begin() as connection:
                yield connection
                committing = True
        except DBAPIError as error:
            raise PostgresFaults().unavailable(error, committing=committing) from None
        except NoConnection:
            raise StoreUnavailable("the database is busy with other mails and documents") from None


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


class _Reader(ReadOnlyFile):
    """The bytes from `start` to before `end`. `piece` returns the nth row of a body."""

    def __init__(self, piece: Callable[[int], bytes], start: int, end: int) -> None:
        super().__init__(max(0, end - start))
        self._row, self._start = piece, start
        self._held: tuple[int, bytes] = (-1, b"")

    def _piece(self, most: int) -> memoryview:
        n, skipped = divmod(self._start + self._position, PIECE)
        wanted = min(most, self._size - self._position)
        if wanted <= 0:
            return memoryview(b"")
        if self._held[0] != n:
            self._held = n, self._row(n)
        return memoryview(self._held[1])[skipped : skipped + wanted]
