"""Deadlines after the system clock was set: what is measured in elapsed time is shifted by as much."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Text, bindparam, cast, select, type_coerce, update

from mailbridge.store import schema
from mailbridge.store.sql import Sql

_fax, _delivery, _item, _envelope = schema.fax.c, schema.delivery.c, schema.received_item.c, schema.envelope.c
# Twice as long as a repeated mail is recognised.
_REPEATS_ARE_KNOWN = timedelta(days=2)
_OPEN = ("queued", "uploading", "in_doubt", "submitted")
_BY = bindparam("by", type_=schema.Elapsed)

_SHIFT: Final = (
    update(schema.fax).where(_fax.state.in_(_OPEN)).values(expires_at=type_coerce(_fax.expires_at, schema.Elapsed) + _BY),
    # A fax without an attempt may be waiting for the time that its sender asked for, which stays.
    update(schema.fax)
    .where(_fax.state.in_(_OPEN), cast(_fax.attempts, Text) != "[]")
    .values(due_at=type_coerce(_fax.due_at, schema.Elapsed) + _BY),
    update(schema.delivery)
    .where(_delivery.state == "pending")
    .values(due_at=type_coerce(_delivery.due_at, schema.Elapsed) + _BY),
    update(schema.received_item).where(_item.due_at.is_not(None)).values(due_at=type_coerce(_item.due_at, schema.Elapsed) + _BY),
)
_SHIFT_MAILS: Final = (
    update(schema.envelope)
    .where(_envelope.received_at >= bindparam("since"))
    .values(received_at=type_coerce(_envelope.received_at, schema.Elapsed) + _BY)
)

# What is due at once: a delivery without an attempt, and a fax that is due since it came. A notice about faxes may be gathering.
_NEW_DELIVERY = (
    _delivery.state == "pending",
    _delivery.attempts == 0,
    _delivery.due_at > bindparam("now"),
    _delivery.envelope_id.is_(None),
)
_NEW_FAX = (_fax.state == "queued", _fax.due_at == _fax.created_at, _fax.due_at > bindparam("now"))
_LATE_ENDPOINTS: Final = select(_delivery.endpoint).distinct().where(*_NEW_DELIVERY)
_LATE_ACCOUNTS: Final = select(_fax.account).distinct().where(*_NEW_FAX)
_PULL_DELIVERIES: Final = update(schema.delivery).where(*_NEW_DELIVERY).values(due_at=bindparam("now"))
_PULL_FAXES: Final = update(schema.fax).where(*_NEW_FAX).values(due_at=bindparam("now"))


def shift_deadlines(sql: Sql, by: timedelta, now: datetime) -> int:
    """See `Transaction.shift_deadlines`."""
    shifted = sum(sql.execute(statement, {"by": by}).rowcount for statement in _SHIFT)
    sql.topics.add("poll")
    return shifted + sql.execute(_SHIFT_MAILS, {"by": by, "since": now - _REPEATS_ARE_KNOWN}).rowcount


def pull_in_new_work(sql: Sql, now: datetime) -> int:
    """See `Transaction.pull_in_new_work`."""
    sql.topics.update(f"deliver:{row['endpoint']}" for row in sql.rows(_LATE_ENDPOINTS, now=now))
    sql.topics.update(f"upload:{row['account']}" for row in sql.rows(_LATE_ACCOUNTS, now=now))
    return sql.execute(_PULL_DELIVERIES, {"now": now}).rowcount + sql.execute(_PULL_FAXES, {"now": now}).rowcount
