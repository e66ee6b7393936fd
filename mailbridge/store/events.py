"""The outbox: an event is stored in the transaction of the change that it describes, with a delivery for each endpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

from sqlalchemy import bindparam, select

from mailbridge import lifecycle, metrics
from mailbridge.model import Delivery, Event, Fax, new_id
from mailbridge.store import rows, schema
from mailbridge.store.multi_insert import insert_rows
from mailbridge.store.notices import Notices
from mailbridge.store.sql import Sql

# Returns the `data` of an event about this fax.
Describe = Callable[[Fax], dict[str, Any]]
# Returns the names of the endpoints that receive this event.
Route = Callable[[Event], Sequence[str]]

_event = schema.event.c
_BY_ID: Final = select(schema.event).where(_event.id == bindparam("id"))


class Events:
    """See `store.interface.Events`."""

    __slots__ = ("_describe", "_notices", "_route", "_sql")

    def __init__(self, sql: Sql, describe: Describe, route: Route, notices: Notices) -> None:
        self._sql, self._describe, self._route, self._notices = sql, describe, route, notices

    def emit(
        self, type_: str, data: dict[str, Any], now: datetime, fax_id: str | None = None, *, not_to: str | None = None
    ) -> Event:
        event = Event(id=new_id("evt"), type=type_, at=now, fax_id=fax_id, seq=data.get("seq", 0), data=data)
        self._add([event], not_to)
        self._notices.event_emitted(event)
        return event

    def emit_fax_events(self, type_: str, faxes: Sequence[tuple[Fax, datetime]]) -> list[Event]:
        """Add an event about each fax as it is now, at its time, and return them; `fax.seq` is the event's."""
        describe = self._describe
        events = [Event(id=new_id("evt"), type=type_, at=at, fax_id=fax.id, seq=fax.seq, data=describe(fax)) for fax, at in faxes]
        self._add(events)
        return events

    def _add(self, events: Sequence[Event], not_to: str | None = None) -> None:
        insert_rows(self._sql.connection, schema.event, [rows.event_row(event) for event in events])
        for event in events:
            self._sql.after_commit.append(partial(metrics.event_emitted, event.type, str(event.data.get("account", ""))))
        added = [self._delivery(event, name) for event in events for name in self._route(event) if name != not_to]
        if added:
            insert_rows(self._sql.connection, schema.delivery, added)

    def _delivery(self, event: Event, endpoint: str) -> dict[str, Any]:
        """Return a new delivery's row: pending, or already claimed for its dispatcher."""
        hand_over, id = self._sql.hand_over, new_id("dlv")
        node = self._sql.node_id
        row = {"id": id, "event_id": event.id, "endpoint": endpoint, "due_at": event.at, "node": node}
        if not hand_over.reserve(endpoint):
            self._sql.topics.add(f"deliver:{endpoint}")
            return {**row, "state": "pending", "attempts": 0}
        sending = lifecycle.delivery_transition("pending", "claim")
        one = Delivery(id=id, event_id=event.id, endpoint=endpoint, state=sending, due_at=event.at, attempts=1, node=node)
        self._sql.after_commit.append(partial(hand_over.hand, one, event))
        return {**row, "state": sending, "attempts": 1}

    def get(self, event_id: str) -> Event:
        return rows.to_event(self._sql.one(_BY_ID, event_id, "event"))

    def newest(self, fax_id: str | None = None, limit: int = 100) -> list[Event]:
        # Not by id alone: the events of one transition share a millisecond, within which ids are random.
        chosen = select(schema.event).order_by(_event.at.desc(), _event.seq.desc(), _event.id.desc()).limit(limit)
        if fax_id is not None:
            chosen = chosen.where(_event.fax_id == fax_id)
        return [rows.to_event(row) for row in self._sql.rows(chosen)]
