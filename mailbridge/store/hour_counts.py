"""How many faxes were accepted, delivered, failed and received in one hour.

An hour at a time, so that the transaction is short; an hour that has passed does not change any more, and can be remembered.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select

from mailbridge.model import first_id
from mailbridge.store import schema
from mailbridge.store.sql import Sql

HOUR = timedelta(hours=1)
_fax, _item = schema.fax.c, schema.received_item.c


@dataclass(frozen=True, slots=True, kw_only=True)
class HourCounts:
    """The faxes of one hour."""

    start: datetime
    accepted: int = 0
    delivered: int = 0
    failed: int = 0
    received: int = 0  # also voicemails


def hour_counts(sql: Sql, start: datetime) -> HourCounts:
    """Return the counts of the hour that begins at `start`."""
    end = start + HOUR
    # Ids are in the order of time.
    accepted = select(func.count()).where(_fax.id >= first_id("fax", start), _fax.id < first_id("fax", end))
    final = select(_fax.state, func.count()).where(_fax.final_at >= start, _fax.final_at < end).group_by(_fax.state)
    received = select(func.count()).where(_item.noted_at >= start, _item.noted_at < end, _item.event_id.is_not(None))
    states = {state: int(count) for state, count in sql.connection.execute(final)}
    return HourCounts(
        start=start,
        accepted=sql.connection.execute(accepted).scalar_one(),
        delivered=states.get("delivered", 0),
        failed=states.get("failed", 0),
        received=sql.connection.execute(received).scalar_one(),
    )
