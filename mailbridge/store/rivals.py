"""What a transaction asks for because other nodes write the same database: locks, and which nodes have ended.

With SQLite one process writes the database, and nothing here runs a statement.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, bindparam, func, literal_column, select, true

from mailbridge.store import schema
from mailbridge.store.sql import Sql

# Seconds after its last heartbeat in which a node counts as working.
LEASE: Final = 30
# By the database's clock, in the unit of `schema.Instant`.
NOW: Final = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
IS_ALIVE: Final = f"node.seen_at > {NOW} - {LEASE * 1_000_000}"
_fax = schema.fax.c
_CALLING: Final[tuple[ColumnElement[str], ...]] = (literal_column("'uploading'"), literal_column("'submitted'"))
# The states stand in the statement as written, as in the index `fax_calls`, or SQLite would not use it.
_CALLS: Final = select(func.count()).where(_fax.number == bindparam("number"), _fax.state.in_(_CALLING))
_UPLOADS: Final = select(func.count()).where(_fax.account == bindparam("account"), _fax.state == "uploading")


def may_call(sql: Sql, number: str, per_number: int, *, again: bool) -> bool:
    """See `store.fax_interface.Faxes.may_call`."""
    if not (sql.shared or again):
        return True
    # Not waiting: two nodes that claim faxes to the same numbers in another order would wait for each other.
    if not sql.try_lock(f"calls to {number}"):
        return False
    return int(sql.execute(_CALLS, {"number": number}).scalar_one()) < per_number


def free_uploads(sql: Sql, account: str, uploads: int) -> int:
    """See `store.fax_interface.Faxes.free_uploads`."""
    if not sql.shared:
        return uploads
    sql.lock([f"uploads of {account}"])
    return max(0, uploads - int(sql.execute(_UPLOADS, {"account": account}).scalar_one()))


def nobody_works_on(table: str, sql: Sql, *, own: bool) -> ColumnElement[bool]:
    """Return the condition that a row which a node works on has been left: its node has ended, or with `own` is this one."""
    if not sql.shared:
        return true()
    if own:
        return literal_column(f"{table}.node") == sql.node_id
    alive = f"SELECT 1 FROM node WHERE node.id = {table}.node AND {IS_ALIVE}"
    return literal_column(f"NOT EXISTS ({alive})")
