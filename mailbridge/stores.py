"""Opens the store that the configuration names: SQLite in the state_dir, or PostgreSQL, which several nodes share."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from mailbridge.clock import Clock
from mailbridge.config import Config
from mailbridge.errors import ConfigError, StoreUnavailable
from mailbridge.model import Event
from mailbridge.notice.planner import Planner
from mailbridge.store import restoration, sqlite
from mailbridge.store.bodies import Bodies
from mailbridge.store.events import Route
from mailbridge.store.rivals import LEASE
from mailbridge.store.sql_store import SqlStore
from mailbridge.store.sqlite import SqliteStore
from mailbridge.store.state_dir import lock_within
from mailbridge.webhook.payload import fax_data
from mailbridge.webhook.routing import Routes

if TYPE_CHECKING:
    from mailbridge.store.postgres_import import ImportTarget


# A receiver of webhooks refuses a signature that is five minutes old.
_CLOCKS_AGREE = timedelta(minutes=1)


class ConfiguredRoute:
    """Routes events by the present configuration, which a reload changes."""

    def __init__(self, config: Config) -> None:
        self.routes = Routes(config.webhooks, config.smtp.region)

    def __call__(self, event: Event) -> Sequence[str]:
        return self.routes.endpoints(event)


@asynccontextmanager
async def open_store(
    config: Config, patience: float = 0.0, *, restoring: bool = False, route: Route | None = None, plan: Planner | None = None
) -> AsyncIterator[SqlStore]:
    """Open the store that the configuration names. SQLite is open to this process alone, PostgreSQL to others too.

    `patience` is how many seconds to wait for SQLite's lock; `restoring` opens it also while a backup is being restored into it.
    `route` and `plan` replace the configuration's own routing of events and planning of notices. Raises StateLocked,
    RestoreUnfinished, SchemaTooNew, StoreUnavailable, ConfigError.
    """
    route, plan = route or ConfiguredRoute(config), plan or Planner(config)
    if config.store.url is None:
        opened: SqlStore = SqliteStore(config.state_dir, fax_data, route, patience, plan, restoring=restoring)
    else:
        opened = _postgres_store(config, route, plan, node=False)
    async with opened as store:
        yield store


@asynccontextmanager
async def open_for_daemon(config: Config, patience: float, route: Route, plan: Planner) -> AsyncIterator[SqlStore]:
    """Open the store for a daemon, which has the state_dir for itself. With PostgreSQL it is a node from now on.

    Raises what `open_store` raises.
    """
    if config.store.url is None:
        async with open_store(config, patience, route=route, plan=plan) as store:
            yield store
        return
    lock = await lock_within(config.state_dir, patience)
    try:
        await asyncio.to_thread(_postgres("postgres_home").check_home, config.store.url.get_secret_value())
        async with _postgres_store(config, route, plan, node=True) as store:
            yield store
    finally:
        os.close(lock)


def _postgres_store(config: Config, route: Route, plan: Planner, *, node: bool) -> SqlStore:
    options = config.store
    url, listen_url = (None if one is None else one.get_secret_value() for one in (options.url, options.listen_url))
    more = {"listen_url": listen_url, "name": config.node.name, "unsafe": options.unsafe, "is_node": node}
    store: SqlStore = _postgres("postgres").PostgresStore(url, fax_data, route, plan, **more)
    return store


@contextmanager
def open_bodies(config: Config) -> Iterator[Bodies]:
    """Open the mails and documents in PostgreSQL, for a command. Raises ConfigError, StoreUnavailable."""
    assert config.store.url is not None
    engine = _postgres("postgres_connection").engine(config.store.url.get_secret_value())
    try:
        bodies: Bodies = _postgres("postgres_bodies").PostgresBodies(engine)
        yield bodies
    finally:
        engine.dispose()


def _postgres(module: str) -> ModuleType:
    """Import a module of the store in PostgreSQL, which needs what not every installation has. Raises ConfigError."""
    try:
        return import_module(f"mailbridge.store.{module}")
    except ImportError as error:
        fault = f"PostgreSQL needs packages that are not installed ({error.name or error})"
        raise ConfigError("store.url", fault, "run pip install 'mailbridge[postgres]'") from None


def migrate(config: Config) -> tuple[int, int]:
    """Migrate the database to the newest schema, blocking; return its version before and after.

    With SQLite the daemon must be stopped; with PostgreSQL the tables are created if there are none, which was version 0.
    Raises StateLocked, SchemaTooNew, StoreUnavailable, ConfigError.
    """
    if config.store.url is None:
        return sqlite.migrate(config.state_dir)
    found, now = _postgres("postgres").migrate(config.store.url.get_secret_value(), unsafe=config.store.unsafe)
    return int(found), int(now)


def migrate_state_dir(state_dir: Path) -> None:
    """Migrate the database in a state_dir of a stopped daemon, blocking. Raises StateLocked, SchemaTooNew, StoreUnavailable."""
    sqlite.migrate(state_dir)


def import_target(url: str) -> ImportTarget:
    """Return the database into which `mailbridge import` moves another one. Raises ConfigError."""
    target: ImportTarget = _postgres("postgres_import").ImportTarget(url)
    return target


async def restore(backup: Path, config: Config) -> list[str]:
    """Restore a backup into the state_dir of the configuration; return the faxes that are in doubt now.

    Raises StateLocked, SchemaTooNew, StoreUnavailable.
    """
    await asyncio.to_thread(restoration.restore_files, backup, config.state_dir)
    async with open_store(config, restoring=True) as store:
        held = await restoration.hold_unsent(store, Clock()())
    await asyncio.to_thread(restoration.finish, config.state_dir)
    return held


async def settle_restored(config: Config, *, moved: bool) -> list[str]:
    """Settle a PostgreSQL database that was restored; return the faxes that are in doubt now.

    With `moved` nothing was sent since the copy was made, and no fax is put in doubt. Raises StoreUnavailable, also if a daemon
    works on it, SchemaTooNew, ConfigError.
    """
    assert config.store.url is not None
    async with open_store(config) as store:
        if working := [node.name for node in await store.run(lambda tx: tx.nodes()) if node.alive]:
            raise StoreUnavailable(
                f"daemons work on this database, or did within the last {LEASE} seconds ({', '.join(working)}); stop them first"
            )
        held = [] if moved else await restoration.hold_unsent(store, (store.shared_clock or Clock())())
    await asyncio.to_thread(_postgres("postgres_home").record_home, config.store.url.get_secret_value())
    return held


class DatabaseCheck(NamedTuple):
    """What is wrong with a PostgreSQL database: faults that keep a daemon from starting, and warnings."""

    server: str
    faults: tuple[str, ...]
    warnings: tuple[ConfigError, ...] = ()


def check_database(config: Config) -> DatabaseCheck | None:
    """Check the database that the configuration names, blocking; None if it is SQLite. Raises ConfigError."""
    if config.store.url is None:
        return None
    url, check = config.store.url, _postgres("postgres_check").check
    try:
        found = check(url.get_secret_value(), (config.store.listen_url or url).get_secret_value(), unsafe=config.store.unsafe)
    except StoreUnavailable as error:
        return DatabaseCheck("", (str(error),))
    if found.faults:
        return DatabaseCheck(found.server, found.faults)
    warnings: list[ConfigError] = []
    if not found.is_heard:
        fault = "notifications do not arrive, as behind a pool, so that a node notices work of the others up to 10 seconds later"
        warnings.append(ConfigError("store.listen_url", fault, "set it to a URL of the server itself"))
    if abs(found.ahead) > _CLOCKS_AGREE:
        fault = f"the clock of the database server differs by {abs(found.ahead).total_seconds():.0f} s from this machine's"
        remedy = "set both by NTP: the times of faxes, and those in the signatures of webhooks, are the server's"
        warnings.append(ConfigError("store.url", fault, remedy))
    return DatabaseCheck(found.server, (), tuple(warnings))
