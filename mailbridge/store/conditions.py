"""Conditions, such as a mailbox that is down: kept over restarts, so that a change is reported once."""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam, delete, select

from mailbridge.store import schema
from mailbridge.store.on_conflict import insert_or_ignore
from mailbridge.store.sql import Sql


class Conditions:
    """See `store.interface.Conditions`."""

    __slots__ = ("_sql",)

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def set(self, name: str, *, on: bool) -> bool:
        key = f"condition: {name}"
        this = schema.meta.c.key == key
        if bool(self._sql.rows(select(schema.meta).where(this))) == on:
            return False
        if on:
            return bool(self._sql.execute(_ADD, {"key": key, "value": "on"}).rowcount)
        return bool(self._sql.execute(delete(schema.meta).where(this)).rowcount)

    def hold_sending(self, account: str | None, *, on: bool) -> bool:
        changed = self.set(_held(account), on=on)
        queued = select(schema.fax.c.account).distinct().where(schema.fax.c.state == "queued")
        for name in self._sql.connection.scalars(queued):
            self._sql.topics.add(f"upload:{name}")
        return changed

    def held_sending(self) -> list[str]:
        found = self._sql.connection.scalars(select(schema.meta.c.key).where(schema.meta.c.key.startswith(_HELD)))
        return sorted(key.removeprefix(_HELD).strip() for key in found)

    def is_sending_held(self, account: str) -> bool:
        for_all, for_account = (f"condition: {_held(name)}" for name in (None, account))
        return self._sql.execute(_ANY_OF_TWO, {"first": for_all, "second": for_account}).first() is not None


_ADD: Final = insert_or_ignore(schema.meta)
# Asked before each upload: building it would take as long as running it.
_ANY_OF_TWO: Final = select(schema.meta.c.key).where(schema.meta.c.key.in_((bindparam("first"), bindparam("second")))).limit(1)
_HELD = "condition: sending is held"


def _held(account: str | None) -> str:
    return "sending is held" if account is None else f"sending is held {account}"
