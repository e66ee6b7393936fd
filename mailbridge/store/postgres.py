"""The store in a PostgreSQL database. It has the same tables and statements as SQLite's; `mailbridge migrate` creates them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Self

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from mailbridge import log
from mailbridge.clock import steady
from mailbridge.store import database_facts, migrations, postgres_schema, schema
from mailbridge.store.events import Describe, Route
from mailbridge.store.notices import NoticePlan
from mailbridge.store.postgres_bodies import PostgresBodies
from mailbridge.store.postgres_connection import Patience, check_url, connect
from mailbridge.store.postgres_connection import engine as engine_of
from mailbridge.store.postgres_faults import PostgresFaults
from mailbridge.store.postgres_node import PostgresNode
from mailbridge.store.postgres_requirements import check_schema, check_server, found_schema
from mailbridge.store.postgres_waking import NODES, Waking
from mailbridge.store.rivals import NOW
from mailbridge.store.schema import EPOCH
from mailbridge.store.sql_store import SqlStore

_NOW: Final = text(f"SELECT {NOW}")
# Seconds of silence: at a stop, and of a server that builds an index.
_AT_STOP: Final = 2.0
_MIGRATION_PATIENCE: Final = 86400.0
_MIGRATION_LIMITS: Final = "SET LOCAL lock_timeout = '2s'"
# A number of our own, for the lock under which one process at a time migrates.
_MIGRATION_LOCK: Final = 0x6D61696C
# Bodies that are read or written at a time.
_BODY_CONNECTIONS: Final = 4


class PostgresStore(SqlStore):
    """A store in the database at `url` (postgresql://…). See `SqlStore`.

    While it is open it is a node, which others see as `name`, unless `is_node` is False, as for a command. `listen_url` is where
    it listens for notifications: a pool, which `url` may lead to, passes none on. With `unsafe` also a server is used that loses
    commits in a crash. Use it as an async context manager.

    Raises StoreUnavailable: the server cannot be used, or the tables are not there; SchemaTooNew.
    """

    def __init__(
        self,
        url: str,
        describe: Describe,
        route: Route,
        plan: NoticePlan | None = None,
        *,
        listen_url: str | None = None,
        name: str = "",
        unsafe: bool = False,
        is_node: bool = True,
    ) -> None:
        super().__init__(describe, route, plan)
        self._url, self._listen_url, self._name, self._unsafe = url, listen_url or url, name or socket.gethostname(), unsafe
        self._is_node, self._patience = is_node, Patience()

    async def __aenter__(self) -> Self:
        check_url(self._listen_url)
        engine = await asyncio.to_thread(_open, self._url, self._unsafe, self._patience)
        try:
            self.created_at = await asyncio.to_thread(database_facts.created_at, engine)
            self._body_engine = engine_of(self._url, _BODY_CONNECTIONS, self._patience)
            self.bodies = PostgresBodies(self._body_engine)
            if self._is_node:
                self.member = self.node = PostgresNode(engine_of(self._url, 1, self._patience), self._name)
                await asyncio.to_thread(self.node.start)
            self.shared_clock = self.node.now if self.member else await asyncio.to_thread(_clock, engine)
        except DBAPIError as error:
            engine.dispose()
            raise PostgresFaults().unavailable(error, committing=False) from None
        self._start(engine, PostgresFaults(), self.member)
        listen = partial(connect, self._listen_url, self._patience) if self.member else None
        self._waking = Waking(engine_of(self._url, 1, self._patience), listen, self.member.id if self.member else "", self._woken)
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._waking.start)
        return self

    async def __aexit__(self, *_: object) -> None:
        # A stop must end soon also where the server does not answer.
        self._patience.seconds = _AT_STOP
        await self._stop()
        ends = (self._waking.stop, self._body_engine.dispose, *((self.node.end_heartbeat,) if self.member else ()))
        await asyncio.gather(*(asyncio.to_thread(end) for end in ends))
        if self.member is not None:
            await asyncio.to_thread(self.node.stop)

    def _notify(self, topics: set[str]) -> None:
        super()._notify(topics)
        self._waking.announce(topics)

    def _woken(self, topics: set[str] | None) -> None:
        """Let services look for work of other nodes; None is work of any kind. Called in another thread."""
        if self.member is not None and (topics is None or NODES in topics):
            self.node.wake()
        self._loop.call_soon_threadsafe(lambda: SqlStore._notify(self, set(self._subscribed) if topics is None else topics))


def migrate(url: str, *, unsafe: bool = False) -> tuple[int, int]:
    """Create the tables of the newest schema, or migrate to it, blocking; return the schema found (0: none) and the schema now.

    Raises SchemaTooNew, StoreUnavailable.
    """
    engine = engine_of(url, 1, Patience(_MIGRATION_PATIENCE))
    try:
        with engine.begin() as connection:
            check_server(connection, unsafe=unsafe)
            connection.exec_driver_sql(_MIGRATION_LIMITS)
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
            found = found_schema(connection)
            if not found:
                postgres_schema.create(connection)
                database_facts.record(connection)
            elif found < schema.SCHEMA_VERSION:
                migrations.migrate(connection, found, schema.SCHEMA_VERSION)
    except DBAPIError as error:
        raise PostgresFaults().not_reached(error) from None
    finally:
        engine.dispose()
    if found < schema.SCHEMA_VERSION:
        log.schema_migrated("store", found=found, now=schema.SCHEMA_VERSION)
    return found, max(found, schema.SCHEMA_VERSION)


def _open(url: str, unsafe: bool, patience: Patience) -> Engine:
    engine = engine_of(url, 1, patience)
    try:
        with engine.begin() as connection:
            check_server(connection, unsafe=unsafe)
            check_schema(connection)
    except DBAPIError as error:
        engine.dispose()
        raise PostgresFaults().not_reached(error) from None
    except BaseException:
        engine.dispose()
        raise
    return engine


def _clock(engine: Engine) -> Callable[[], datetime]:
    """Return a clock for a command: the database's time now, counted on by a clock that nobody sets."""
    with engine.begin() as connection:
        now, read_at = EPOCH + timedelta(microseconds=connection.execute(_NOW).scalar_one()), steady()
    return lambda: now + timedelta(seconds=steady() - read_at)
