"""This daemon as one of several nodes on a PostgreSQL database: its row, its heartbeat, and the leases that it holds.

A node is alive while its heartbeat is younger than `rivals.LEASE`, by the database's clock. It trusts itself a little shorter
than the others trust it, counted from the start of its last good heartbeat by its own monotonic clock: neither a clock that is
set nor a process that was stopped misleads anybody.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from mailbridge import __version__, log
from mailbridge.errors import StoreUnavailable
from mailbridge.model import new_id
from mailbridge.store.postgres_faults import PostgresFaults
from mailbridge.store.rivals import LEASE, NOW
from mailbridge.store.schema import EPOCH

# Seconds between heartbeats, and for which a node trusts itself after one.
_EVERY: Final = 5.0
_TRUSTED: Final = LEASE - 2.0
# Seconds after which the row of a node that has ended is of no interest.
_FORGOTTEN: Final = 86400

_BEAT: Final = text(
    f"INSERT INTO node (id, name, version, started_at, seen_at) VALUES (:id, :name, :version, {NOW}, {NOW})"
    f" ON CONFLICT (id) DO UPDATE SET seen_at = {NOW} RETURNING seen_at"
)
_FORGET: Final = text(f"DELETE FROM node WHERE seen_at < {NOW} - {_FORGOTTEN * 1_000_000}")
_IS_ALIVE: Final = f"node.seen_at > {NOW} - {LEASE * 1_000_000}"
_LIST: Final = text(f"SELECT id, name, version, started_at, seen_at, {_IS_ALIVE} AS alive FROM node ORDER BY id")
_ALIVE: Final = f"SELECT 1 FROM node WHERE node.id = lease.node AND {_IS_ALIVE}"
_TAKE: Final = text(
    f"INSERT INTO lease VALUES (:name, :id, {NOW}) ON CONFLICT (name) DO UPDATE SET node = :id, taken_at = {NOW}"
    f" WHERE lease.node <> :id AND NOT EXISTS ({_ALIVE}) RETURNING 1"
)
_HELD: Final = text("SELECT 1 FROM lease WHERE name = :name AND node = :id")
_RETURN: Final = text("DELETE FROM lease WHERE name = :name AND node = :id")
_LEASES: Final = text("SELECT name, node FROM lease ORDER BY name")
_END: Final = (text("DELETE FROM lease WHERE node = :id"), text("DELETE FROM node WHERE id = :id"))


class NodeRow(NamedTuple):
    """A node as others see it."""

    id: str
    name: str
    version: str
    started_at: datetime
    seen_at: datetime
    alive: bool
    leases: tuple[str, ...]


class PostgresNode:
    """See `store.node.Node` and `store.leased_service.Leases`.

    `engine` has a connection for this node alone, and `monotonic` returns seconds.
    """

    def __init__(self, engine: Engine, name: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.id = new_id("nod")
        self._engine, self._name, self._monotonic = engine, name, monotonic
        self._using = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="node", daemon=True)
        self._trusted_until = 0.0
        self._database_time: tuple[datetime, float] = (EPOCH, 0.0)

    def start(self) -> None:
        """Become a node, blocking, and say so from now on. Raises DBAPIError."""
        try:
            self.beat()
        except BaseException:
            self._engine.dispose()
            raise
        self._thread.start()

    def stop(self) -> None:
        """Give every lease back and end, blocking. Nothing of this node may be under way."""
        self._ended.set()
        self._thread.join()
        try:
            with self._using, self._engine.begin() as connection:
                for statement in _END:
                    connection.execute(statement, {"id": self.id})
        except DBAPIError as error:
            log.store_unavailable("node", error=" ".join(str(error.orig).split()))  # its leases end by themselves
        self._engine.dispose()

    def beat(self) -> None:
        """Say that this node works, blocking. Raises DBAPIError."""
        begun = self._monotonic()
        with self._using, self._engine.begin() as connection:
            facts = {"id": self.id, "name": self._name, "version": __version__}
            seen_at = connection.execute(_BEAT, facts).scalar_one()
            connection.execute(_FORGET)
        self._database_time = EPOCH + timedelta(microseconds=seen_at), begun
        self._trusted_until = begun + _TRUSTED

    def _work(self) -> None:
        while not self._ended.wait(_EVERY):
            try:
                self.beat()
            except DBAPIError as error:
                log.store_unavailable("node", error=" ".join(str(error.orig).split()))

    def check_lease(self) -> None:
        """See `store.node.Node`."""
        if self._monotonic() >= self._trusted_until:
            raise StoreUnavailable("the database has not heard of this node for so long that others may have taken over its work")

    def now(self) -> datetime:
        """Return the database's time, as of the last heartbeat and counted on since: this machine's clock may be set."""
        at, monotonic = self._database_time
        return at + timedelta(seconds=self._monotonic() - monotonic)

    def take(self, name: str) -> bool:
        """See `store.leased_service.Leases`."""
        values = {"name": name, "id": self.id}
        with self._transaction() as connection:
            return any(connection.execute(statement, values).scalar() for statement in (_TAKE, _HELD))

    def give_back(self, name: str) -> None:
        """See `store.leased_service.Leases`."""
        with self._transaction() as connection:
            connection.execute(_RETURN, {"name": name, "id": self.id})

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._using, self._engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            raise PostgresFaults().unavailable(error, committing=False) from None

    def nodes(self) -> list[NodeRow]:
        """Return every node that was seen in the last day, blocking, in the order of their starts. Raises StoreUnavailable."""
        with self._transaction() as connection:
            leases = connection.execute(_LEASES).all()
            found = connection.execute(_LIST).all()
        nodes = []
        for id, name, version, started_at, seen_at, alive in found:
            times = [EPOCH + timedelta(microseconds=moment) for moment in (started_at, seen_at)]
            held = tuple(lease for lease, node in leases if alive and node == id)
            nodes.append(NodeRow(id, name, version, times[0], times[1], alive, held))
        return nodes
