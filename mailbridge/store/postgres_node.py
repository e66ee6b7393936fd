"""This daemon as one of several nodes on a PostgreSQL database: its row, its heartbeat, and the leases that it has.

A node is alive while its heartbeat is younger than `rivals.LEASE`, by the database's clock. It trusts itself a little shorter
than the others trust it, counted from the start of its last good heartbeat by its own steady clock: neither a clock that is set
nor a process that was stopped misleads anybody.

Leases are taken and given back in the transaction of the heartbeat. So there is one connection and one thread for all of it,
and a database that does not answer stops neither services nor threads of the daemon.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Engine, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import Text

from mailbridge import __version__, log
from mailbridge.clock import steady
from mailbridge.errors import StoreUnavailable
from mailbridge.model import new_id
from mailbridge.store.node import Facts
from mailbridge.store.postgres_faults import message
from mailbridge.store.postgres_waking import CHANNEL, NODES
from mailbridge.store.rivals import IS_ALIVE, LEASE, NOW
from mailbridge.store.schema import EPOCH

# Seconds between heartbeats; until one that failed is tried again; between looks whether the facts have changed; and for which a
# node trusts itself after a heartbeat.
_EVERY: Final = 5.0
_RETRY: Final = 1.0
_LOOK: Final = 1.0
_TRUSTED: Final = LEASE - 2.0
# Seconds after which the row of a node that has ended is of no interest.
_FORGOTTEN: Final = 86400

_BEAT: Final = text(
    f"INSERT INTO node (id, name, version, started_at, seen_at, facts) VALUES (:id, :name, :version, {NOW}, {NOW}, :facts)"
    f" ON CONFLICT (id) DO UPDATE SET seen_at = {NOW}, facts = :facts RETURNING seen_at"
).bindparams(bindparam("facts", type_=JSONB))
_FORGET: Final = text(f"DELETE FROM node WHERE seen_at < {NOW} - {_FORGOTTEN * 1_000_000}")
_NAMES: Final = bindparam("names", type_=ARRAY(Text))
# In the order of their names: two nodes that take several would otherwise wait for each other.
_TAKE: Final = text(
    f"INSERT INTO lease SELECT name, :id, {NOW} FROM unnest(:names) AS name ORDER BY name"
    f" ON CONFLICT (name) DO UPDATE SET node = :id, taken_at = {NOW} WHERE lease.node <> :id"
    f" AND NOT EXISTS (SELECT 1 FROM node WHERE node.id = lease.node AND {IS_ALIVE})"
).bindparams(_NAMES)
_GIVE_BACK: Final = text("DELETE FROM lease WHERE node = :id AND name <> ALL(:names)").bindparams(_NAMES)
_NOTIFY: Final = text(f"SELECT pg_notify('{CHANNEL}', :id || ' {NODES}')")
_HOLDERS: Final = text(
    f"SELECT lease.name, lease.node, node.facts -> lease.name AS fact FROM lease JOIN node ON node.id = lease.node AND {IS_ALIVE}"
)
_OTHERS: Final = text(f"SELECT count(*) FROM node WHERE id <> :id AND {IS_ALIVE}")
_END: Final = (text("DELETE FROM lease WHERE node = :id"), text("DELETE FROM node WHERE id = :id"), _NOTIFY)


class _Holder(NamedTuple):
    node: str
    fact: Any


class PostgresNode:
    """See `store.node.Member`.

    `engine` has a connection for this node alone, and `monotonic` returns seconds. `facts` is called in another thread.
    """

    def __init__(self, engine: Engine, name: str, monotonic: Callable[[], float] = steady) -> None:
        self.id = new_id("nod")
        self.facts: Callable[[], Facts] = dict
        self._engine, self._name, self._monotonic = engine, name, monotonic
        self._using, self._changing = threading.Lock(), threading.Lock()
        self._ended, self._woken = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="node", daemon=True)
        self._trusted_until, self._is_cut_off = 0.0, False
        self._database_time: tuple[datetime, float] = (EPOCH, 0.0)
        self._wanted: Counter[str] = Counter()
        self._changed: dict[str, Callable[[], None]] = {}
        self._holders: Mapping[str, _Holder] = {}
        self._others = 0
        self._facts: Facts = {}

    def start(self) -> None:
        """Become a node, blocking, and say so from now on. Raises DBAPIError."""
        try:
            self.beat()
        except BaseException:
            self._engine.dispose()
            raise
        self._thread.start()

    def end_heartbeat(self) -> None:
        """Take and give back no more leases, blocking."""
        self._ended.set()
        self._woken.set()
        self._thread.join()

    def stop(self) -> None:
        """Give every lease back and end, blocking. Nothing of this node may be under way."""
        self.end_heartbeat()
        if self._is_cut_off:
            self._engine.dispose()
            return  # its leases end by themselves, and nobody waits for a server that does not answer
        try:
            with self._using, self._engine.begin() as connection:
                for statement in _END:
                    connection.execute(statement, {"id": self.id})
        except DBAPIError as error:
            log.store_unavailable("node", error=message(error.orig))  # its leases end by themselves
        self._engine.dispose()

    def wake(self) -> None:
        """Look at the leases soon: another node has ended, or has given one back."""
        self._woken.set()

    def beat(self) -> None:
        """Say that this node works, and take and give back leases, blocking. Raises DBAPIError."""
        with self._using:
            begun, facts = self._monotonic(), self.facts()
            with self._engine.begin() as connection:
                values = {"id": self.id, "name": self._name, "version": __version__, "facts": dict(facts)}
                seen_at = connection.execute(_BEAT, values).scalar_one()
                middle = (begun + self._monotonic()) / 2
                connection.execute(_FORGET)
                holders = self._take_leases(connection)
                others = connection.execute(_OTHERS, {"id": self.id}).scalar_one()
            self._database_time = EPOCH + timedelta(microseconds=seen_at), middle
            # In this order: a node that was cut off must not trust itself with the leases that it had before.
            before, self._holders = self._holders, holders
            self._trusted_until, self._is_cut_off, self._facts = begun + _TRUSTED, False, facts
            self._others = others
            self._call_changed(before, holders)

    def _take_leases(self, connection: Connection) -> dict[str, _Holder]:
        with self._changing:
            names = sorted(self._wanted)
        if connection.execute(_GIVE_BACK, {"id": self.id, "names": names}).rowcount:
            connection.execute(_NOTIFY, {"id": self.id})
        if names:
            connection.execute(_TAKE, {"id": self.id, "names": names})
        return {name: _Holder(node, fact) for name, node, fact in connection.execute(_HOLDERS)}

    def _call_changed(self, before: Mapping[str, _Holder], holders: Mapping[str, _Holder]) -> None:
        with self._changing:
            changed = [call for name, call in self._changed.items() if before.get(name) != holders.get(name)]
        for call in changed:
            call()

    def _work(self) -> None:
        due = self._monotonic() + _EVERY
        while not self._ended.is_set():
            woken = self._woken.wait(_LOOK)
            try:
                if self._ended.is_set() or not (woken or self._monotonic() >= due or self._facts != self.facts()):
                    continue
                self._woken.clear()
                due = self._monotonic() + _EVERY
                self.beat()
            except Exception as error:  # whatever it was, the others must hear of this node again
                log.store_unavailable("node", error=message(error.orig) if isinstance(error, DBAPIError) else repr(error))
                due, self._is_cut_off = self._monotonic() + _RETRY, True

    def check_lease(self) -> None:
        """See `store.node.Node`."""
        if self._monotonic() >= self._trusted_until:
            raise StoreUnavailable("the database has not heard of this node for so long that others may have taken over its work")

    def now(self) -> datetime:
        """Return the database's time, as of the last heartbeat and counted on since: this machine's clock may be set."""
        at, monotonic = self._database_time
        return at + timedelta(seconds=self._monotonic() - monotonic)

    def want(self, name: str, changed: Callable[[], None]) -> None:
        """See `store.node.Leases`."""
        with self._changing:
            self._wanted[name] += 1
            self._changed[name] = changed
        self.wake()

    def give_back(self, name: str) -> None:
        """See `store.node.Leases`."""
        with self._changing:
            self._wanted[name] -= 1
            if self._wanted[name] <= 0:
                del self._wanted[name], self._changed[name]
        self.wake()

    def has(self, name: str) -> bool:
        """See `store.node.Leases`."""
        holder = self._holders.get(name)
        return holder is not None and holder.node == self.id and self._monotonic() < self._trusted_until

    def has_others(self) -> bool:
        """See `store.node.Leases`."""
        return self._others > 0

    def known_of(self, name: str) -> Any:
        """See `store.node.Member`."""
        holder = self._holders.get(name)
        return None if holder is None else holder.fact
