"""What every part of a transaction needs: its connection, and the topics to notify after its commit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from sqlalchemy import BindParameter, Connection, Executable, bindparam, text

from mailbridge.errors import NotFound, StoreUnavailable
from mailbridge.store.hand_over import HandOver
from mailbridge.store.node import UNSETTLED, Node
from mailbridge.store.prepared import Prepared

# PostgreSQL's locks that end with their transaction: those of a connection would not pass pgbouncer.
_LOCK: Final = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
_TRY_LOCK: Final = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))")


def any_of(name: str) -> BindParameter[object]:
    """Return a bind parameter that takes a list, for `column.in_(...)`."""
    return bindparam(name, expanding=True)


class Overtaken(StoreUnavailable):
    """Another process changed a row after this transaction had read it. `store.writer` runs the transaction again."""


class Sql:
    """Runs statements in one transaction. `topics` are those to notify after the commit (see `Store.subscribe`).

    `after_commit` has calls that count for `metrics` what was changed, and that hand new deliveries over. `shared` is whether
    other nodes write the database too, and `node_id` the id of this one. `is_unsettled` is whether a commit of this node that was
    not answered may have come about: then what it claimed has nobody who works on it.
    """

    __slots__ = ("_node", "_unsettled_until", "after_commit", "connection", "execute", "hand_over", "node_id", "shared", "topics")

    def __init__(self, connection: Connection, hand_over: HandOver, node: Node | None = None) -> None:
        self.connection, self.hand_over, self._node = connection, hand_over, node
        self.shared = connection.dialect.name != "sqlite"
        self.node_id = None if node is None else node.id
        self.execute = connection.execute
        self.topics: set[str] = set()
        self.after_commit: list[Callable[[], None]] = []
        self._unsettled_until = 0.0

    @property
    def is_unsettled(self) -> bool:
        return time.monotonic() < self._unsettled_until

    def note_undecided(self) -> None:
        """Note that a commit was not answered. With SQLite nothing of it stays."""
        if self.shared:
            self._unsettled_until = time.monotonic() + UNSETTLED

    def rows(self, statement: Executable | Prepared, **parameters: Any) -> list[dict[str, Any]]:
        """Return the rows of a query, each by column name."""
        if isinstance(statement, Prepared):
            return statement.rows(self.connection, parameters)
        return [dict(row) for row in self.connection.execute(statement, parameters).mappings()]

    def value(self, statement: Prepared, **parameters: Any) -> Any:
        """Return the only column of the first row of a query, None if there is no row."""
        found = statement.rows(self.connection, parameters)
        return next(iter(found[0].values())) if found else None

    def change(self, statement: Prepared, values: Mapping[str, Any]) -> int:
        """Run an INSERT, UPDATE or DELETE; return how many rows it changed."""
        return statement.change(self.connection, values)

    def check_lease(self) -> None:
        """Raise StoreUnavailable if other nodes may think that this one has ended."""
        if self._node is not None:
            self._node.check_lease()

    def lock(self, names: Iterable[str]) -> None:
        """Let no other node have these locks until the end of the transaction; wait for a node that has one."""
        if self.shared:
            for name in sorted(set(names)):
                self.connection.execute(_LOCK, {"name": name})

    def try_lock(self, name: str) -> bool:
        """Do the same without waiting; return False if another node has the lock."""
        return not self.shared or bool(self.connection.execute(_TRY_LOCK, {"name": name}).scalar_one())

    def one(self, statement: Executable | Prepared, id_: str, kind: str) -> dict[str, Any]:
        """Return the row that a query by `id` finds. Raises NotFound, naming the `kind`."""
        found = self.rows(statement, id=id_)
        if not found:
            raise NotFound(f"no {kind} has the id {id_}")
        return found[0]
