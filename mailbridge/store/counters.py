"""Counters of faxes and deliveries by state, which the database's triggers keep (see `store.schema`)."""

from __future__ import annotations

from typing import Any, Final, Literal

from sqlalchemy import bindparam, select

from mailbridge.store import schema
from mailbridge.store.sql import Sql

_NOT_ZERO: Final = select(schema.counter).where(schema.counter.c.kind == bindparam("kind"), schema.counter.c.n > 0)


def counters(sql: Sql, kind: Literal["fax", "delivery"]) -> list[dict[str, Any]]:
    """Return `endpoint`, `state` and `n` of every counter of this kind that is not 0."""
    return sql.rows(_NOT_ZERO, kind=kind)
