"""Conditions, such as a mailbox that is down: kept over restarts, so that a change is reported once."""

from __future__ import annotations

from sqlalchemy import delete, insert, select

from mailbridge.store import schema
from mailbridge.store.sql import Sql


class Conditions:
    """See `store.interface.Conditions`."""

    __slots__ = ("_sql",)

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def set(self, name: str, *, on: bool) -> bool:
        key = f"condition: {name}"
        this = schema.meta.c.key == key
        was_on = bool(self._sql.rows(select(schema.meta).where(this)))
        if on and not was_on:
            self._sql.execute(insert(schema.meta), {"key": key, "value": "on"})
        elif was_on and not on:
            self._sql.execute(delete(schema.meta).where(this))
        return was_on != on
