"""Drafts of the console, where several nodes serve it: any of them shows and sends what was composed at another."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import bindparam, delete, insert, select, update

from mailbridge.store import rows, schema
from mailbridge.store.sql import Sql

_draft = schema.draft.c
_GET: Final = select(_draft.record, _draft.fax_id, _draft.made_at).where(
    _draft.key == bindparam("this"), _draft.user == bindparam("owner")
)
_FORGET: Final = delete(schema.draft).where(_draft.made_at < bindparam("before"))
_SENT: Final = update(schema.draft).where(_draft.key == bindparam("this")).values(fax_id=bindparam("fax"))
_DELETE: Final = delete(schema.draft).where(
    _draft.key == bindparam("this"), _draft.user == bindparam("owner"), _draft.fax_id.is_(None)
)


class DraftRecord(NamedTuple):
    """A draft as `submission.shared_drafts` reads it; `fax_id` is its first fax, once sent."""

    record: Mapping[str, Any]
    fax_id: str | None
    made_at: datetime


class DraftRecords:
    """See `store.console_interface.DraftRecords`."""

    __slots__ = ("_sql",)

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def add(self, key: str, user: str, record: Mapping[str, Any], now: datetime, oldest: datetime) -> None:
        self._sql.execute(_FORGET, {"before": oldest})
        values = {"key": key, "user": user, "made_at": now, "fax_id": None, "record": rows.plain(record)}
        self._sql.execute(insert(schema.draft), values)

    def get(self, key: str, user: str) -> DraftRecord | None:
        found = self._sql.rows(_GET, this=key, owner=user)
        return DraftRecord(**found[0]) if found else None

    def mark_sent(self, key: str, fax_id: str) -> None:
        self._sql.execute(_SENT, {"this": key, "fax": fax_id})

    def delete(self, key: str, user: str) -> None:
        self._sql.execute(_DELETE, {"this": key, "owner": user})
