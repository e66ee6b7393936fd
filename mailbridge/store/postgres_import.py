"""Moves what a state_dir with SQLite has into an empty PostgreSQL database, for `mailbridge import`.

Mails and documents are copied first, in many transactions, so that an import which was interrupted goes on where it was. Then the
state_dir is marked as moved: no daemon starts on it any more, since two would fax the same queue. All rows follow in one
transaction, which checks before its commit that everything is there. The mark is taken back only if that has surely failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Connection, Engine, delete, func, insert, inspect, select, text
from sqlalchemy.exc import DBAPIError

from mailbridge.errors import StoreUnavailable
from mailbridge.store import schema
from mailbridge.store.body_rows import PIECE
from mailbridge.store.multi_insert import insert_rows
from mailbridge.store.postgres_bodies import PostgresBodies
from mailbridge.store.postgres_connection import Patience
from mailbridge.store.postgres_connection import engine as engine_of
from mailbridge.store.postgres_faults import PostgresFaults
from mailbridge.store.rivals import LEASE, NOW
from mailbridge.store.sqlite_source import OWN_FACTS, SourceBody, SqliteSource

# Seconds: a statement about all rows takes longer than those of a daemon.
_SILENCE: Final = 600.0
# Most bodies and bytes in one transaction.
_BATCH, _BATCH_BYTES = 200, 8 << 20
_IMPORTED: Final = "imported"
_ALIVE: Final = text(f"SELECT name FROM node WHERE seen_at > {NOW} - {LEASE * 1_000_000} LIMIT 1")
_SIZES: Final = text("SELECT name, size FROM body WHERE name = ANY(:names)")
_ADD_BODY: Final = f"INSERT INTO body (name, size, stored_at) VALUES (%s, %s, {NOW})"
_ADD_PIECE: Final = "INSERT INTO body_piece (name, n, bytes) VALUES (%s, 0, %s)"
# Triggers would count each row by a change of the same one, which gets slower with each.
_COUNTED: Final = ("fax", "delivery")
_COUNT: Final = (
    "INSERT INTO counter_part SELECT 'fax', '', state, 0, count(*) FROM fax GROUP BY state",
    "INSERT INTO counter_part SELECT 'delivery', endpoint, state, 0, count(*) FROM delivery GROUP BY endpoint, state",
)


class ImportTarget:
    """The database at `url`, whose tables exist. Methods block, and raise StoreUnavailable."""

    def __init__(self, url: str) -> None:
        self._engine = engine_of(url, 2, Patience(_SILENCE))
        self._bodies = PostgresBodies(self._engine)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def imported(self) -> str | None:
        """Return the id of the import whose rows the database has, None if it has none."""
        with _transaction(self._engine) as connection:
            if not inspect(connection).has_table("meta"):
                return None
            found = connection.scalar(select(schema.meta.c.value).where(schema.meta.c.key == _IMPORTED))
        return None if found is None else str(found)

    def check_empty(self) -> None:
        """Raise StoreUnavailable if the database has records, or a daemon uses it."""
        with _transaction(self._engine) as connection:
            if inspect(connection).has_table("meta"):
                _check_empty(connection)

    def copy_bodies(self, source: SqliteSource, bodies: Sequence[SourceBody], progress: Callable[[int], None]) -> None:
        """Copy the bodies that are not there yet; `progress` is called with the bytes of each part."""
        for start in range(0, len(bodies), _BATCH):
            part = bodies[start : start + _BATCH]
            there = self._sizes(part)
            for small in _batches(part, there):
                self._put_small(source, small)
                progress(sum(body.size for body in small))
            for body in part:
                if there.get(body.name) == body.size:
                    progress(body.size)
                elif body.size > PIECE or body.name in there:
                    self._bodies.put(body.name, source.content(body))
                    progress(body.size)

    def _sizes(self, bodies: Sequence[SourceBody]) -> dict[str, int]:
        with _transaction(self._engine) as connection:
            found = connection.execute(_SIZES, {"names": [body.name for body in bodies]})
            return {row.name: row.size for row in found}

    def _put_small(self, source: SqliteSource, bodies: Sequence[SourceBody]) -> None:
        contents = [b"".join(source.content(body)) for body in bodies]
        with _transaction(self._engine) as connection:
            for body, content in zip(bodies, contents, strict=True):
                if len(content) != body.size:
                    raise StoreUnavailable(f"{body.name} has {len(content)} bytes instead of {body.size}")
            if content_of := [(body.name, content) for body, content in zip(bodies, contents, strict=True) if content]:
                connection.exec_driver_sql(_ADD_PIECE, content_of)
            connection.exec_driver_sql(_ADD_BODY, [(body.name, body.size) for body in bodies])

    def copy_rows(self, source: SqliteSource, bodies: Sequence[SourceBody], id: str) -> dict[str, int]:
        """Copy all rows in one transaction that also records the `id` of this import; return how many there are by table.

        Raises Undecided if it is not known whether the commit has happened.
        """
        with _transaction(self._engine) as connection:
            for name in _COUNTED:
                connection.exec_driver_sql(f"ALTER TABLE {name} DISABLE TRIGGER USER")
            _check_empty(connection)
            connection.execute(delete(schema.meta).where(schema.meta.c.key.not_in(OWN_FACTS)))
            copied = {}
            for table in source.tables:
                copied[table.name] = 0
                for rows in source.rows(table):
                    insert_rows(connection, table, rows)
                    copied[table.name] += len(rows)
            for statement in _COUNT:
                connection.exec_driver_sql(statement)
            for name in _COUNTED:
                connection.exec_driver_sql(f"ALTER TABLE {name} ENABLE TRIGGER USER")
            self._check(connection, source, bodies)
            connection.execute(insert(schema.meta), {"key": _IMPORTED, "value": id})
        return copied

    def _check(self, connection: Connection, source: SqliteSource, bodies: Sequence[SourceBody]) -> None:
        """Raise StoreUnavailable if a row or a body is not there, or a body has another size."""
        for name, count in source.counts().items():
            table = schema.metadata.tables[name]
            counted = select(func.count()).select_from(table)
            there = connection.scalar(counted.where(table.c.key.not_in(OWN_FACTS)) if table is schema.meta else counted) or 0
            if there != count:
                raise StoreUnavailable(f"the table {name} has {there} rows after the import, and {count} before")
        for start in range(0, len(bodies), _BATCH):
            part = bodies[start : start + _BATCH]
            sizes = self._sizes(part)
            for body in part:
                if sizes.get(body.name) != body.size:
                    raise StoreUnavailable(f"{body.name} was not copied whole; run the import again")


def _check_empty(connection: Connection) -> None:
    node = connection.scalar(_ALIVE)
    if node is not None:
        raise StoreUnavailable(f"the daemon {node} uses the database; stop it first")
    for table in schema.metadata.sorted_tables:
        if table is not schema.meta and connection.execute(select(table).limit(1)).first() is not None:
            raise StoreUnavailable(f"the database is not empty: its table {table.name} has rows; import into a new database")


def _batches(bodies: Sequence[SourceBody], there: dict[str, int]) -> Iterator[list[SourceBody]]:
    """Yield the small bodies that are not there, a transaction's worth at a time."""
    batch, size = list[SourceBody](), 0
    for body in bodies:
        if body.name in there or body.size > PIECE:
            continue
        batch.append(body)
        size += body.size
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


@contextmanager
def _transaction(engine: Engine) -> Iterator[Connection]:
    committing = False
    try:
        with engine.begin() as connection:
            yield connection
            committing = True
    except DBAPIError as error:
        raise PostgresFaults().unavailable(error, committing=committing) from None
