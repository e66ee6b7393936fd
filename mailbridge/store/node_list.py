"""The list of the nodes that share a database."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from sqlalchemy import text

from mailbridge.store.node import NodeRow
from mailbridge.store.rivals import IS_ALIVE
from mailbridge.store.schema import EPOCH
from mailbridge.store.sql import Sql

_LIST: Final = text(
    f"SELECT id, name, version, started_at, seen_at, {IS_ALIVE} AS alive,"
    " ARRAY(SELECT lease.name FROM lease WHERE lease.node = node.id ORDER BY 1) AS leases FROM node ORDER BY id"
)


def read_nodes(sql: Sql) -> list[NodeRow]:
    """See `store.interface.Transaction.nodes`."""
    nodes = []
    for row in sql.rows(_LIST) if sql.shared else ():
        started, seen = (EPOCH + timedelta(microseconds=row[name]) for name in ("started_at", "seen_at"))
        leases = tuple(row["leases"]) if row["alive"] else ()
        nodes.append(NodeRow(row["id"], row["name"], row["version"], started, seen, row["alive"], leases))
    return nodes
