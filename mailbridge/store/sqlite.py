"""The store in one SQLite file: write-ahead log, synchronous=FULL, one connection in one thread (see `store.writer`)."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Engine, create_engine, event, inspect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from mailbridge import log
from mailbridge.errors import RestoreUnfinished, SchemaTooNew, StoreUnavailable, Undecided
from mailbridge.store import disk_errors, migrations, rows, schema
from mailbridge.store.database_facts import created_at, record, schema_version, too_new
from mailbridge.store.events import Describe, Route
from mailbridge.store.notices import NoticePlan
from mailbridge.store.sql_store import SqlStore
from mailbridge.store.state_dir import DATABASE, RESTORING, check_not_moved, lock_state_dir, lock_within


class SqliteStore(SqlStore):
    """A store in `state_dir/mailbridge.sqlite3`. See `SqlStore`.

    `patience` is the seconds to wait for another process that has locked the state_dir. Use it as an async context manager.
    `restoring` opens it also while a backup is being restored into it.

    Creates the state_dir if its parent exists, and the database. Raises StateLocked if another process uses the state_dir,
    StateMoved, RestoreUnfinished, SchemaTooNew if a newer mailbridge wrote the database, StoreUnavailable.
    """

    def __init__(
        self,
        state_dir: Path,
        describe: Describe,
        route: Route,
        patience: float = 0.0,
        plan: NoticePlan | None = None,
        *,
        restoring: bool = False,
    ) -> None:
        super().__init__(describe, route, plan)
        self._state_dir, self._patience, self._restoring = state_dir, patience, restoring

    async def __aenter__(self) -> Self:
        self._lock = await lock_within(self._state_dir, self._patience)
        try:
            check_not_moved(self._state_dir)
            if not self._restoring and (self._state_dir / RESTORING).exists():
                raise RestoreUnfinished(f"a restore into {self._state_dir} was interrupted; run mailbridge restore again")
            engine, _ = await asyncio.to_thread(_open, self._state_dir / DATABASE)
        except BaseException:
            os.close(self._lock)
            raise
        self.created_at = await asyncio.to_thread(created_at, engine)
        self._start(engine, SqliteFaults())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()
        os.close(self._lock)


class SqliteFaults:
    """The errors of SQLite; see `store.faults.Faults`."""

    def unavailable(self, error: DBAPIError | OSError, *, committing: bool) -> StoreUnavailable:
        cause = error.orig if isinstance(error, DBAPIError) else error
        why = f": {disk_errors.FULL}" if disk_errors.is_full(error) else f" ({cause})"
        kind = Undecided if "FSYNC" in getattr(cause, "sqlite_errorname", "") else StoreUnavailable
        return kind(f"the database cannot be written{why}")

    def is_rivalry(self, error: DBAPIError | OSError) -> bool:
        return False  # one process writes the file, through one connection

    def is_gone(self, error: DBAPIError | OSError) -> bool:
        return False


def migrate(state_dir: Path) -> tuple[int, int]:
    """Migrate the database of a stopped daemon to the newest schema, blocking; return the schema found and the schema now.

    `SqliteStore` does the same when it opens. Raises StateLocked, SchemaTooNew, StoreUnavailable.
    """
    lock = lock_state_dir(state_dir)
    try:
        check_not_moved(state_dir)
        path = state_dir / DATABASE
        if not path.exists():
            raise StoreUnavailable(f"{path} does not exist; there is nothing to migrate")
        engine, found = _open(path)
        engine.dispose()
        return found, schema.SCHEMA_VERSION
    finally:
        os.close(lock)


def _open(path: Path) -> tuple[Engine, int]:
    """Open the database, and create or migrate its tables; return also the schema that was found."""
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=StaticPool,
        # Lists and batches of different lengths make 250 different statements of a burst of mails; the driver keeps 128.
        connect_args={"check_same_thread": False, "cached_statements": 512},
        json_serializer=rows.to_json,
        hide_parameters=True,  # an error's text has no token or address
    )
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        # Before the first connection: SQLite creates its other files with the mode of this one.
        path.touch(mode=0o600)
        path.chmod(0o600)
        with engine.begin() as connection:
            found = _create_or_migrate(connection, path)
    except (DBAPIError, OSError) as error:
        engine.dispose()
        raise StoreUnavailable(_not_opened(path, error)) from None
    except BaseException:
        engine.dispose()
        raise
    if found < schema.SCHEMA_VERSION:
        log.schema_migrated("store", found=found, now=schema.SCHEMA_VERSION)
    return engine, found


def _not_opened(path: Path, error: DBAPIError | OSError) -> str:
    """Return why the database cannot be opened, and the remedy for that: moving it away would lose the queue."""
    if disk_errors.is_full(error, path.parent):
        return f"{path} cannot be opened: {disk_errors.FULL}"
    if isinstance(error, OSError):
        return f"{path} cannot be opened ({error.strerror}); check its owner and rights, and the disk"
    name = getattr(error.orig, "sqlite_errorname", "")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return f"{path} is damaged ({error.orig}); keep it, and restore a backup into an empty state_dir: mailbridge restore DIR"
    if name.startswith("SQLITE_IOERR"):
        return f"{path} cannot be opened ({error.orig}); check the disk, and do not move the database: it has the queue"
    return f"{path} cannot be opened ({error.orig}); check its owner and rights"


def _create_or_migrate(connection: Connection, path: Path) -> int:
    """Create the tables, or migrate them to the newest schema, in one transaction; return the schema that was found."""
    if not inspect(connection).has_table("meta"):
        schema.metadata.create_all(connection)
        record(connection)
    found = schema_version(connection)
    if found is None:
        raise StoreUnavailable(f"{path} has no schema number; restore a backup into an empty state_dir: mailbridge restore DIR")
    if found > schema.SCHEMA_VERSION:
        raise SchemaTooNew(too_new(path, found))
    if found < schema.SCHEMA_VERSION:
        migrations.migrate(connection, found, schema.SCHEMA_VERSION)
    return found


def _configure(connection: sqlite3.Connection, _: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy begins and commits; the driver's implicit transactions break savepoints
    # What undoes a savepoint, some 100 KB for a batch of mails, stays in memory: otherwise nearly each commit creates a temporary
    # file in another directory, whose disk may be full or slow. (Of 51 writes a 4 KB mail, 33 remain.)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}")
