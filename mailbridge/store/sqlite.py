"""The store in one SQLite file: write-ahead log, synchronous=FULL, one connection in one thread (see `store.writer`)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, insert, inspect, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from mailbridge import log
from mailbridge.errors import RestoreUnfinished, SchemaTooNew, StateLocked, StoreUnavailable
from mailbridge.store import disk_errors, migrations, rows, schema
from mailbridge.store.events import Describe, Route
from mailbridge.store.hand_over import HandOver
from mailbridge.store.interface import Transaction
from mailbridge.store.notices import NoticePlan
from mailbridge.store.state_dir import DATABASE, RESTORING, lock_state_dir
from mailbridge.store.writer import Writer

T = TypeVar("T")
# Seconds between attempts to lock the state_dir.
_LOCK_INTERVAL = 0.05


class SqliteStore:
    """A Store (see `store.interface`) in `state_dir/mailbridge.sqlite3`.

    `describe` returns the data of an event about a fax, `route` the endpoints of an event type, and `plan` decides on notices
    (None: there are none). `patience` is the seconds to wait for another process that has locked the state_dir. Use it as an
    async context manager; `created_at` is then when the database was created, or None if that is unknown. `restoring` opens it
    also while a backup is being restored into it.

    Creates the state_dir if its parent exists, and the database. Raises StateLocked if another process uses the state_dir,
    RestoreUnfinished, SchemaTooNew if a newer mailbridge wrote the database, StoreUnavailable.
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
        self._state_dir, self._describe, self._route, self._patience, self._plan = state_dir, describe, route, patience, plan
        self._restoring = restoring
        self._subscribed: dict[str, asyncio.Event] = {}
        self._closed = False

    async def __aenter__(self) -> SqliteStore:
        # Not its parents: a wrong path is reported below.
        with contextlib.suppress(OSError):
            self._state_dir.mkdir(mode=0o700, exist_ok=True)
        self._lock = await _lock_within(self._state_dir, self._patience)
        try:
            if not self._restoring and (self._state_dir / RESTORING).exists():
                raise RestoreUnfinished(f"a restore into {self._state_dir} was interrupted; run mailbridge restore again")
            self._engine, _ = await asyncio.to_thread(_open, self._state_dir / DATABASE)
        except BaseException:
            os.close(self._lock)
            raise
        self.created_at = await asyncio.to_thread(_created_at, self._engine)
        self._writer = Writer(self._engine, self._describe, self._route, self._plan, self._notify)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed = True
        await self._writer.close()
        await asyncio.to_thread(self._engine.dispose)
        os.close(self._lock)

    async def run(self, work: Callable[[Transaction], T]) -> T:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        # A caller that is cancelled cancels the future, not the transaction: the writer sets no result then.
        return await self._writer.submit(work)

    @property
    def healthy(self) -> bool:
        """Whether the last transaction could be written."""
        return self._writer.healthy

    @property
    def hand_over(self) -> HandOver:
        """Where dispatchers offer to take new deliveries."""
        return self._writer.hand_over

    def subscribe(self, topic: str) -> asyncio.Event:
        return self._subscribed.setdefault(topic, asyncio.Event())

    def _notify(self, topics: set[str]) -> None:
        for topic in topics:
            self.subscribe(topic).set()


async def _lock_within(state_dir: Path, patience: float) -> int:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    while True:
        try:
            return lock_state_dir(state_dir)
        except StateLocked:
            if loop.time() >= deadline:
                raise
        await asyncio.sleep(_LOCK_INTERVAL)


def migrate(state_dir: Path) -> tuple[int, int]:
    """Migrate the database of a stopped daemon to the newest schema, blocking; return the schema found and the schema now.

    `SqliteStore` does the same when it opens. Raises StateLocked, SchemaTooNew, StoreUnavailable.
    """
    lock = lock_state_dir(state_dir)
    try:
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
        f"sqlite:///{path}", poolclass=StaticPool, connect_args={"check_same_thread": False}, json_serializer=rows.to_json
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
        facts = {"schema": str(schema.SCHEMA_VERSION), "made": datetime.now(UTC).isoformat()}
        connection.execute(insert(schema.meta), [{"key": key, "value": value} for key, value in facts.items()])
    stored = connection.execute(select(schema.meta.c.value).where(schema.meta.c.key == "schema")).scalar()
    if stored is None or not stored.isdecimal():
        raise StoreUnavailable(f"{path} has no schema number; restore a backup into an empty state_dir: mailbridge restore DIR")
    found = int(stored)
    if found > schema.SCHEMA_VERSION:
        raise SchemaTooNew(
            f"{path} has schema {found}, this mailbridge knows {schema.SCHEMA_VERSION}; install the newer version again"
        )
    if found < schema.SCHEMA_VERSION:
        migrations.migrate(connection, found, schema.SCHEMA_VERSION)
    return found


def _created_at(engine: Engine) -> datetime | None:
    with engine.begin() as connection:
        stored = connection.execute(select(schema.meta.c.value).where(schema.meta.c.key == "made")).scalar()
    return None if stored is None else datetime.fromisoformat(stored)


def _configure(connection: sqlite3.Connection, _: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy begins and commits; the driver's implicit transactions break savepoints
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
        connection.execute(f"PRAGMA {pragma}")
