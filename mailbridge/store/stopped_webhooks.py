"""Webhooks that answered 410 Gone."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, delete, select

from mailbridge.store import schema
from mailbridge.store.on_conflict import insert_or_ignore
from mailbridge.store.sql import Sql
from mailbridge.store.webhook_records import StoppedWebhook

_webhook = schema.stopped_webhook.c
_GET: Final = select(schema.stopped_webhook).where(_webhook.endpoint == bindparam("endpoint"))
_NAMES: Final = select(_webhook.endpoint).order_by(_webhook.endpoint)
_ADD: Final = insert_or_ignore(schema.stopped_webhook)
_REMOVE: Final = delete(schema.stopped_webhook).where(_webhook.endpoint == bindparam("name"))


class StoppedWebhooks:
    """See `store.delivery_interface.StoppedWebhooks`."""

    __slots__ = ("_sql",)

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def get(self, endpoint: str) -> StoppedWebhook | None:
        found = self._sql.rows(_GET, endpoint=endpoint)
        return StoppedWebhook(**found[0]) if found else None

    def names(self) -> list[str]:
        return [row["endpoint"] for row in self._sql.rows(_NAMES)]

    def add(self, endpoint: str, reason: str, now: datetime) -> bool:
        added = bool(self._sql.execute(_ADD, {"endpoint": endpoint, "stopped_at": now, "reason": reason}).rowcount)
        if self._sql.shared:
            self._sql.topics.add(f"deliver:{endpoint}")  # other nodes stop too
        return added

    def remove(self, endpoint: str) -> bool:
        removed = bool(self._sql.execute(_REMOVE, {"name": endpoint}).rowcount)
        if removed:
            self._sql.topics.add(f"deliver:{endpoint}")
        return removed
