"""The verbs of what comes in: receipts, and how far the list of `incoming.do` was compared with them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from mailbridge.model import Compared, Receipt
from mailbridge.store import schema
from mailbridge.store.retire import Retiring

_receipt, _listing = schema.receipt.c, schema.listing.c
_NAMES = tuple(field.name for field in fields(Receipt))
_put = upsert(schema.receipt).values({name: bindparam(name) for name in _NAMES})
_PUT: Final = _put.on_conflict_do_update(index_elements=["id"], set_={name: _put.excluded[name] for name in _NAMES[1:]})
_START: Final = upsert(schema.listing).on_conflict_do_nothing()


class Receiving(Retiring):
    """The part of a transaction that knows what came in."""

    def compared(self, account: str, kind: str, now: datetime) -> Compared:
        mine = (_listing.account == account, _listing.kind == kind)
        found = self._rows(select(schema.listing).where(*mine))
        if not found:
            self._connection.execute(_START, {"account": account, "kind": kind, "started_at": now})
            return Compared(started_at=now)
        return Compared(started_at=found[0]["started_at"], until=found[0]["compared_at"])

    def note_compared(self, account: str, kind: str, until: datetime) -> None:
        mine = (_listing.account == account, _listing.kind == kind)
        self._connection.execute(update(schema.listing).where(*mine).values(compared_at=until))

    def known_listings(self, account: str, kind: str, ids: Collection[str]) -> set[str]:
        mine = (_receipt.account == account, _receipt.kind == kind, _receipt.listing_id.in_(ids))
        return set(self._connection.scalars(select(_receipt.listing_id).where(*mine)))

    def receipts(self, account: str, kind: str, start: datetime, end: datetime) -> list[Receipt]:
        mine = (_receipt.account == account, _receipt.kind == kind, _receipt.at.between(start, end))
        return self._receipts(select(schema.receipt).where(*mine).order_by(_receipt.at))

    def due_receipts(self, account: str, kind: str, now: datetime, limit: int) -> list[Receipt]:
        mine = (_receipt.account == account, _receipt.kind == kind, _receipt.due_at <= now)
        return self._receipts(select(schema.receipt).where(*mine).order_by(_receipt.due_at, _receipt.at).limit(limit))

    def receipt(self, receipt_id: str) -> Receipt | None:
        return next(iter(self._receipts(select(schema.receipt).where(_receipt.id == receipt_id))), None)

    def _receipts(self, query: Any) -> list[Receipt]:
        return [Receipt(**row) for row in self._rows(query)]

    def put_receipt(self, receipt: Receipt) -> None:
        self._connection.execute(_PUT, asdict(receipt))

    def drop_receipt(self, receipt_id: str) -> None:
        self._connection.execute(delete(schema.receipt).where(_receipt.id == receipt_id))

    def delete_receipts(self, before: datetime, limit: int) -> int:
        old = select(_receipt.id).where(_receipt.noted_at <= before)
        gone = delete(schema.receipt).where(_receipt.id.in_(old.order_by(_receipt.noted_at).limit(limit)))
        return self._connection.execute(gone).rowcount
