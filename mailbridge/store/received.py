"""Received faxes and voicemails, and how far the lists of `incoming.do` were compared with them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, Final

from sqlalchemy import delete, select, update

from mailbridge.model import ListingProgress, ReceivedItem
from mailbridge.store import schema
from mailbridge.store.on_conflict import insert_or_ignore, insert_or_replace
from mailbridge.store.received_notes import ReceivedNote, notes, put_note
from mailbridge.store.sql import Sql

_item, _listing = schema.received_item.c, schema.listing_progress.c
_NAMES = tuple(field.name for field in fields(ReceivedItem))
_PUT: Final = insert_or_replace(schema.received_item, ["id"], _NAMES)
_START: Final = insert_or_ignore(schema.listing_progress)


class Received:
    """See `store.interface.Received`.

    A mail and the list may report one fax at the same time, each on a node of its own: the second sees what the first has stored.
    """

    __slots__ = ("_sql",)

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def progress(self, account: str, kind: str, now: datetime) -> ListingProgress:
        this = (_listing.account == account, _listing.kind == kind)
        found = self._sql.rows(select(schema.listing_progress).where(*this))
        if not found:
            self._sql.execute(_START, {"account": account, "kind": kind, "started_at": now})
            return ListingProgress(started_at=now)
        return ListingProgress(started_at=found[0]["started_at"], until=found[0]["compared_at"])

    def save_progress(self, account: str, kind: str, until: datetime) -> None:
        this = (_listing.account == account, _listing.kind == kind)
        self._sql.execute(update(schema.listing_progress).where(*this).values(compared_at=until))

    def _wait_for_other_nodes(self) -> None:
        self._sql.lock(["received"])

    def known_listing_ids(self, account: str, kind: str, ids: Collection[str]) -> set[str]:
        self._wait_for_other_nodes()
        these = (_item.account == account, _item.kind == kind, _item.listing_id.in_(ids))
        return set(self._sql.connection.scalars(select(_item.listing_id).where(*these)))

    def between(self, account: str, kind: str, start: datetime, end: datetime) -> list[ReceivedItem]:
        self._wait_for_other_nodes()
        these = (_item.account == account, _item.kind == kind, _item.at.between(start, end))
        return self._found(select(schema.received_item).where(*these).order_by(_item.at))

    def due(self, account: str, kind: str, now: datetime, limit: int) -> list[ReceivedItem]:
        these = (_item.account == account, _item.kind == kind, _item.due_at <= now)
        return self._found(select(schema.received_item).where(*these).order_by(_item.due_at, _item.at).limit(limit))

    def has_line(self, account: str, number: str) -> bool:
        these = (_item.account == account, _item.called == number, _item.listing_id.is_not(None))
        return bool(self._sql.rows(select(_item.id).where(*these).limit(1)))

    def get(self, item_id: str) -> ReceivedItem | None:
        self._wait_for_other_nodes()
        return next(iter(self._found(select(schema.received_item).where(_item.id == item_id))), None)

    def _found(self, query: Any) -> list[ReceivedItem]:
        return [ReceivedItem(**row) for row in self._sql.rows(query)]

    def notes(self, fax_ids: Collection[str]) -> dict[str, ReceivedNote]:
        return notes(self._sql, fax_ids)

    def put_note(self, note: ReceivedNote) -> None:
        put_note(self._sql, note)

    def put(self, item: ReceivedItem) -> None:
        self._sql.execute(_PUT, asdict(item))

    def delete(self, item_id: str) -> None:
        self._sql.execute(delete(schema.received_item).where(_item.id == item_id))
