"""Conditions, such as a mailbox that is down: kept over restarts, so that a change is reported once."""

from __future__ import annotations

from typing import Final

from sqlalchemy import delete, select

from mailbridge.store import schema
from mailbridge.store.on_conflict import insert_or_ignore
from mailbridge.store.sending_state import HELD, held_key
from mailbridge.store.sql import Sql

_ADD: Final = insert_or_ignore(schema.meta)
_CONDITION: Final = "condition: "


class Conditions:
    """See `store.interface.Conditions`."""

    __slots__ = ("_sql",)

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def set(self, name: str, *, on: bool) -> bool:
        key = f"{_CONDITION}{name}"
        this = schema.meta.c.key == key
        if bool(self._sql.rows(select(schema.meta).where(this))) == on:
            return False
        if on:
            return bool(self._sql.execute(_ADD, {"key": key, "value": "on"}).rowcount)
        return bool(self._sql.execute(delete(schema.meta).where(this)).rowcount)

    def hold_sending(self, account: str | None, *, on: bool) -> bool:
        changed = self.set(held_key(account).removeprefix(_CONDITION), on=on)
        queued = select(schema.fax.c.account).distinct().where(schema.fax.c.state == "queued")
        for name in self._sql.connection.scalars(queued):
            self._sql.topics.add(f"upload:{name}")
        return changed

    def held_sending(self) -> list[str]:
        found = self._sql.connection.scalars(select(schema.meta.c.key).where(schema.meta.c.key.startswith(HELD)))
        return sorted(key.removeprefix(HELD).strip() for key in found)
