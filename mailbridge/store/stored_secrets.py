"""Secrets that mailbridge itself makes, by name. They are never printed or logged."""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam, select

from mailbridge.store import schema
from mailbridge.store.on_conflict import insert_or_ignore
from mailbridge.store.sql import Sql

_GET: Final = select(schema.secret.c.value).where(schema.secret.c.name == bindparam("name"))
_ADD: Final = insert_or_ignore(schema.secret)


class Secrets:
    """See `store.interface.Secrets`."""

    __slots__ = ("_sql",)

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def get(self, name: str) -> str | None:
        value = self._sql.execute(_GET, {"name": name}).scalar()
        return None if value is None else str(value)

    def add(self, name: str, value: str) -> str:
        self._sql.execute(_ADD, {"name": name, "value": value})
        return self.get(name) or value
