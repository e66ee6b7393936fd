"""Accepted mails: their envelopes, and the faxes made of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, func, literal_column, select

from mailbridge.model import Envelope, Fax, QueuedMail
from mailbridge.store import rows, schema
from mailbridge.store.body_rows import store_bodies
from mailbridge.store.faxes import Faxes
from mailbridge.store.multi_insert import insert_rows
from mailbridge.store.notices import Notices
from mailbridge.store.prepared import Prepared
from mailbridge.store.sql import Sql, any_of

_envelope, _fax = schema.envelope.c, schema.fax.c
_FAX_IDS: Final = Prepared(
    select(_envelope.key, _envelope.id.label("envelope_id"), _fax.id.label("fax_id"))
    .join_from(schema.envelope, schema.fax, _fax.envelope_id == _envelope.id)
    .where(_envelope.key.in_(any_of("keys")), _envelope.received_at >= bindparam("since"))
    .order_by(_envelope.received_at, _envelope.id, _fax.id)
)
_RECORD: Final = select(_envelope.record).where(_envelope.id == bindparam("envelope_id"))
_COUNT_FAXES: Final = (
    select(func.count())
    .join_from(schema.envelope, schema.fax, _fax.envelope_id == _envelope.id)
    .where(_envelope.user == bindparam("user"), _envelope.received_at >= bindparam("since"))
)
# Grouped by an expression: along the groups of a column SQLite would read the whole index.
_SAME_KEY = func.coalesce(_fax.same_key, literal_column("''"))
_SAME_AGAIN: Final = Prepared(
    select(_SAME_KEY.label("key"), func.max(_fax.id).label("newest"))
    .where(_fax.same_key.in_(any_of("keys")), _fax.created_at >= bindparam("since"))
    .group_by(_SAME_KEY)
)


class Submissions:
    """See `store.fax_interface.Submissions`."""

    __slots__ = ("_faxes", "_notices", "_sql")

    def __init__(self, sql: Sql, faxes: Faxes, notices: Notices) -> None:
        self._sql, self._faxes, self._notices = sql, faxes, notices

    def add(self, envelope: Envelope, faxes: Sequence[Fax], key: str | None, now: datetime) -> None:
        of_mail = tuple(replace(fax, envelope_id=envelope.id) for fax in faxes)
        self.add_all([QueuedMail(envelope=replace(envelope, received_at=now), faxes=of_mail, repeat_key=key)])

    def add_all(self, mails: Sequence[QueuedMail]) -> None:
        if self._sql.shared:
            store_bodies(self._sql.connection, mails)
        insert_rows(self._sql.connection, schema.envelope, [rows.envelope_row(mail.envelope, mail.repeat_key) for mail in mails])
        # Retention finds the faxes of a mail by its id, and deletes no file while one of them is not final.
        events = self._faxes.add_all([(fax, mail.envelope.received_at) for mail in mails for fax in mail.faxes])
        self._notices.mails_accepted(mails, events)

    def fax_ids(self, keys: Collection[str], since: datetime) -> dict[str, list[str]]:
        self._sql.lock(f"mail {key}" for key in keys)  # the same mail may be given to two nodes at a time
        first: dict[str, str] = {}
        found: dict[str, list[str]] = {}
        for row in _FAX_IDS.rows(self._sql.connection, {"keys": list(keys), "since": since}):
            if first.setdefault(row["key"], row["envelope_id"]) == row["envelope_id"]:
                found.setdefault(row["key"], []).append(row["fax_id"])
        return found

    def same_again(self, keys: Collection[str], since: datetime) -> dict[str, str]:
        found = _SAME_AGAIN.rows(self._sql.connection, {"keys": list(keys), "since": since})
        return {row["key"]: row["newest"] for row in found}

    def passed_over(self, envelope_id: str) -> list[str]:
        record = self._sql.execute(_RECORD, {"envelope_id": envelope_id}).scalar()
        # A mail that an older version accepted has no such list.
        return list((record or {}).get("passed_over", []))

    def count_faxes(self, user: str, since: datetime) -> int:
        self._sql.lock([f"faxes of {user}"])
        return int(self._sql.execute(_COUNT_FAXES, {"user": user, "since": since}).scalar_one())
