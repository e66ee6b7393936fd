"""Accepted mails: their envelopes, and the faxes made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, func, insert, select

from mailbridge.model import Envelope, Fax
from mailbridge.store import rows, schema
from mailbridge.store.faxes import Faxes
from mailbridge.store.sql import Sql

_envelope, _fax = schema.envelope.c, schema.fax.c
_FIRST_WITH_KEY = (
    select(_envelope.id)
    .where(_envelope.key == bindparam("key"), _envelope.received_at >= bindparam("since"))
    .order_by(_envelope.received_at)
    .limit(1)
).scalar_subquery()
_FAX_IDS: Final = select(_fax.id).where(_fax.envelope_id == _FIRST_WITH_KEY).order_by(_fax.id)
_RECORD: Final = select(_envelope.record).where(_envelope.id == bindparam("envelope_id"))
_ADD: Final = insert(schema.envelope)
_COUNT_FAXES: Final = (
    select(func.count())
    .join_from(schema.envelope, schema.fax, _fax.envelope_id == _envelope.id)
    .where(_envelope.user == bindparam("user"), _envelope.received_at >= bindparam("since"))
)
_SAME_AGAIN: Final = (
    select(_fax.id)
    .where(
        _fax.content_digest == bindparam("content_digest"),
        _fax.created_at >= bindparam("since"),
        _fax.number == bindparam("number"),
        func.coalesce(_fax.user, "") == bindparam("user"),
    )
    .order_by(_fax.created_at.desc())
    .limit(1)
)


class Submissions:
    """See `store.interface.Submissions`."""

    __slots__ = ("_faxes", "_sql")

    def __init__(self, sql: Sql, faxes: Faxes) -> None:
        self._sql, self._faxes = sql, faxes

    def add(self, envelope: Envelope, faxes: Sequence[Fax], key: str | None, now: datetime) -> None:
        self._sql.execute(_ADD, rows.envelope_row(envelope, key))
        for fax in faxes:
            # Retention finds the faxes of a mail by this id, and deletes no file while one of them is not final.
            self._faxes.add(replace(fax, envelope_id=envelope.id), now)

    def fax_ids(self, key: str, since: datetime) -> list[str]:
        return [row[0] for row in self._sql.execute(_FAX_IDS, {"key": key, "since": since})]

    def same_again(self, fax: Fax, since: datetime) -> str | None:
        if fax.content_digest is None:
            return None
        same = {"content_digest": fax.content_digest, "number": fax.number, "user": fax.user or "", "since": since}
        return self._sql.execute(_SAME_AGAIN, same).scalar()

    def passed_over(self, envelope_id: str) -> list[str]:
        record = self._sql.execute(_RECORD, {"envelope_id": envelope_id}).scalar()
        # A mail that an older version accepted has no such list.
        return list((record or {}).get("passed_over", []))

    def count_faxes(self, user: str, since: datetime) -> int:
        return int(self._sql.execute(_COUNT_FAXES, {"user": user, "since": since}).scalar_one())
