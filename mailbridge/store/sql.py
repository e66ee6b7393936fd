"""What every part of a transaction needs: its connection, and the topics to notify after its commit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import BindParameter, Connection, Executable, bindparam

from mailbridge.errors import NotFound, StoreUnavailable
from mailbridge.store.hand_over import HandOver


def any_of(name: str) -> BindParameter[object]:
    """Return a bind parameter that takes a list, for `column.in_(...)`."""
    return bindparam(name, expanding=True)


class Overtaken(StoreUnavailable):
    """Another process changed a row after this transaction had read it. `store.writer` runs the transaction again."""


class Sql:
    """Runs statements in one transaction. `topics` are those to notify after the commit (see `Store.subscribe`).

    `after_commit` has calls that count for `metrics` what was changed, and that hand new deliveries over. `shared` is whether
    other processes write the database too.
    """

    __slots__ = ("after_commit", "connection", "execute", "hand_over", "shared", "topics")

    def __init__(self, connection: Connection, hand_over: HandOver) -> None:
        self.connection, self.hand_over = connection, hand_over
        self.shared = connection.dialect.name != "sqlite"
        self.execute = connection.execute
        self.topics: set[str] = set()
        self.after_commit: list[Callable[[], None]] = []

    def rows(self, statement: Executable, **parameters: Any) -> list[dict[str, Any]]:
        """Return the rows of a query, each by column name."""
        return [dict(row) for row in self.connection.execute(statement, parameters).mappings()]

    def one(self, statement: Executable, id_: str, kind: str) -> dict[str, Any]:
        """Return the row that a query by `id` finds. Raises NotFound, naming the `kind`."""
        found = self.rows(statement, id=id_)
        if not found:
            raise NotFound(f"no {kind} has the id {id_}")
        return found[0]
