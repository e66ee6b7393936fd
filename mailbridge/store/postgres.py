"""The store in a PostgreSQL database. It has the same tables and statements as SQLite's; `mailbridge migrate` creates them."""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from typing import Any, Final

import psycopg
from psycopg.types.string import StrDumper
from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from mailbridge import log
from mailbridge.errors import SchemaTooNew, StoreUnavailable
from mailbridge.store import database_facts, postgres_schema, rows, schema
from mailbridge.store.events import Describe, Route
from mailbridge.store.notices import NoticePlan
from mailbridge.store.postgres_bodies import PostgresBodies
from mailbridge.store.postgres_faults import PostgresFaults, leave_server
from mailbridge.store.postgres_node import PostgresNode
from mailbridge.store.postgres_waking import Waking
from mailbridge.store.sql_store import SqlStore

_OLDEST_SERVER: Final = 14
# libpq: seconds until a server that does not answer any more is given up, at a connect and later.
_PATIENCE: Final = {
    "connect_timeout": "5",
    "tcp_user_timeout": "10000",  # milliseconds
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
}
# At the start of each transaction, since a setting of the connection does not pass pgbouncer. A process that is stopped in the
# middle of a transaction must not hold its locks for long.
_LIMITS: Final = "SET LOCAL lock_timeout = '5s'; SET LOCAL idle_in_transaction_session_timeout = '10s'"
_MIGRATION_LIMITS: Final = "SET LOCAL lock_timeout = '2s'"
# A number of our own, for the lock under which one process at a time migrates.
_MIGRATION_LOCK: Final = 0x6D61696C
# Bodies that are read or written at a time.
_BODY_CONNECTIONS: Final = 4
# Settings that lose what was committed: (name, value).
_UNSAFE: Final = (("fsync", "off"), ("synchronous_commit", "off"), ("full_page_writes", "off"))


class PostgresStore(SqlStore):
    """A store in the database at `url` (postgresql://…). See `SqlStore`.

    While it is open it is a node, which others see as `name`. `listen_url` is where it listens for notifications: a pool, which
    `url` may lead to, passes none on. With `unsafe` also a server is used that loses commits in a crash.
    Use it as an async context manager.

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
    ) -> None:
        super().__init__(describe, route, plan)
        self._url, self._listen_url, self._name, self._unsafe = url, listen_url or url, name or socket.gethostname(), unsafe

    async def __aenter__(self) -> PostgresStore:
        engine = await asyncio.to_thread(_open, self._url, self._unsafe)
        try:
            self.created_at = await asyncio.to_thread(database_facts.created_at, engine)
            self.bodies = PostgresBodies(_engine(self._url, _BODY_CONNECTIONS))
            self.node = PostgresNode(_engine(self._url), self._name)
            await asyncio.to_thread(self.node.start)
        except DBAPIError as error:
            engine.dispose()
            raise PostgresFaults().unavailable(error, committing=False) from None
        self._start(engine, PostgresFaults(), self.node)
        self._waking = Waking(_engine(self._url), partial(_connect, self._listen_url), self.node.id, self._woken)
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._waking.start)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()
        await asyncio.to_thread(self._waking.stop)
        await asyncio.to_thread(self.bodies.close)
        await asyncio.to_thread(self.node.stop)

    def _notify(self, topics: set[str]) -> None:
        super()._notify(topics)
        self._waking.announce(topics)

    def _woken(self, topics: set[str] | None) -> None:
        """Let services look for work of other nodes; None is work of any kind. Called in another thread."""
        self._loop.call_soon_threadsafe(lambda: SqlStore._notify(self, set(self._subscribed) if topics is None else topics))


def migrate(url: str, *, unsafe: bool = False) -> tuple[int, int]:
    """Create the tables of the newest schema, or migrate to it, blocking; return the schema found (0: none) and the schema now.

    Raises SchemaTooNew, StoreUnavailable.
    """
    engine = _engine(url)
    try:
        with engine.begin() as connection:
            _check_server(connection, unsafe)
            connection.exec_driver_sql(_MIGRATION_LIMITS)
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
            found = _found_schema(connection)
            if not found:
                postgres_schema.create(connection)
                database_facts.record(connection)
    except DBAPIError as error:
        raise PostgresFaults().unavailable(error, committing=False) from None
    finally:
        engine.dispose()
    if found < schema.SCHEMA_VERSION:
        log.schema_migrated("store", found=found, now=schema.SCHEMA_VERSION)
    return found, schema.SCHEMA_VERSION


def _open(url: str, unsafe: bool) -> Engine:
    engine = _engine(url)
    try:
        with engine.begin() as connection:
            _check_server(connection, unsafe)
            if not _found_schema(connection):
                raise StoreUnavailable("the database of store.url has no tables of mailbridge; run mailbridge migrate")
    except DBAPIError as error:
        engine.dispose()
        raise PostgresFaults().unavailable(error, committing=False) from None
    except BaseException:
        engine.dispose()
        raise
    return engine


def _engine(url: str, connections: int = 1) -> Engine:
    try:
        address = make_url(url).set(drivername="postgresql+psycopg")
    except ArgumentError:
        raise StoreUnavailable("store.url cannot be read; write postgresql://USER@HOST/DATABASE") from None
    engine = create_engine(
        _with_patience(address),
        isolation_level="READ COMMITTED",
        pool_size=connections,
        max_overflow=0,
        json_serializer=_to_json,
        # Positions instead of names, as in SQLite: see `multi_insert`.
        paramstyle="format",
        # No prepared statements: a pool such as pgbouncer gives each transaction to another connection.
        connect_args={"prepare_threshold": None},
    )
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(_LIMITS))
    event.listen(engine, "handle_error", leave_server)
    return engine


def _connect(url: str) -> psycopg.Connection[Any]:
    address = _with_patience(make_url(url).set(drivername="postgresql"))
    return psycopg.connect(address.render_as_string(hide_password=False), autocommit=True)


def _with_patience(address: URL) -> URL:
    given = {name: value for name, value in _PATIENCE.items() if name not in address.query}
    return address.update_query_dict({"application_name": "mailbridge", **given} | dict(address.query))


class _CleanDumper(StrDumper):
    """Text as PostgreSQL can hold it: a zero byte, or half of a surrogate pair, becomes U+FFFD."""

    def dump(self, obj: str) -> bytes:
        return _clean(obj).encode()


def _clean(text: str) -> str:
    return text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _to_json(value: Any) -> str:
    """Return a plain value as JSON without what PostgreSQL cannot decode."""
    written = rows.to_json(value)
    return rows.to_json(_clean_all(value)) if "\\u0000" in written or "\\ud" in written else written


def _clean_all(value: Any) -> Any:
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, dict):
        return {_clean(key): _clean_all(item) for key, item in value.items()}
    return [_clean_all(item) for item in value] if isinstance(value, list) else value


def _configure(connection: psycopg.Connection[Any], _: Any) -> None:
    connection.adapters.register_dumper(str, _CleanDumper)


def _check_server(connection: Connection, unsafe: bool) -> None:
    """Refuse a server that lacks what mailbridge needs. Raises StoreUnavailable."""

    def setting(name: str) -> str:
        return str(connection.exec_driver_sql(f"SHOW {name}").scalar_one())

    number = int(setting("server_version_num")) // 10000
    if number < _OLDEST_SERVER:
        raise StoreUnavailable(f"PostgreSQL {number} is too old; mailbridge needs {_OLDEST_SERVER} or newer")
    if setting("server_encoding") != "UTF8":
        raise StoreUnavailable("the database does not store UTF-8; create one with ENCODING 'UTF8'")
    if setting("transaction_read_only") == "on":
        raise StoreUnavailable(
            "the database server is read-only, as a standby is; store.url must lead to the server that accepts writes"
        )
    for name, value in _UNSAFE:
        if setting(name) == value and not unsafe:
            raise StoreUnavailable(f"the database server has {name} = {value}, and would lose faxes in a crash; set it to on")


def _found_schema(connection: Connection) -> int:
    """Return the version of the schema, 0 if there are no tables. Raises SchemaTooNew, StoreUnavailable."""
    if not inspect(connection).has_table("meta"):
        return 0
    found = database_facts.schema_version(connection)
    if found is None:
        raise StoreUnavailable("the database of store.url has no schema number; restore a backup of it")
    if found > schema.SCHEMA_VERSION:
        raise SchemaTooNew(database_facts.too_new("the database of store.url", found))
    return found
