"""Searches among faxes and events for people, newest first, a page at a time.

A page looks at so many rows only: looking at two years of faxes takes seconds, and a transaction must be short. The caller asks
for the next page until it has enough. Ids are in the order of time, so a page begins below the last id of the one before.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Table, func, select

from mailbridge.lifecycle import FaxState
from mailbridge.model import Event, Fax
from mailbridge.store import rows, schema
from mailbridge.store.fax_lists import list_faxes, list_received
from mailbridge.store.hour_counts import HourCounts, hour_counts
from mailbridge.store.list_filter import FaxesFound, FaxGroup, ListFilter, ReceivedFound
from mailbridge.store.sql import Sql
from mailbridge.store.usage import usage_page

_fax, _event, _item = schema.fax.c, schema.event.c, schema.received_item.c
# Rows that a page looks at: some 10 ms.
SCAN = 2000
RECEIVED = ("fax.received", "voicemail.received")


@dataclass(frozen=True, slots=True, kw_only=True)
class FaxFilter:
    """Which faxes are wanted; None is any."""

    state: FaxState | None = None
    number: str | None = None  # as a person writes it, or its last digits; with a + its first ones
    user: str | None = None
    account: str | None = None
    sender: str | None = None  # part of the envelope's sender
    subject: str | None = None  # part of it
    tag: str | None = None  # KEY or KEY=VALUE
    since: datetime | None = None  # when it was accepted
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which events are wanted; None is any."""

    types: tuple[str, ...] | None = None
    fax_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class FaxPage(NamedTuple):
    """The faxes found, and where the next page begins; None if there is none."""

    faxes: list[Fax]
    below: str | None


class EventPage(NamedTuple):
    """The events found, and where the next page begins; None if there is none."""

    events: list[Event]
    below: str | None


class Search:
    """See `store.interface.Search`."""

    __slots__ = ("_sql",)

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def faxes(self, wanted: FaxFilter, below: str | None = None) -> FaxPage:
        found, next_below = self._page(schema.fax, _fax_conditions(wanted), below)
        return FaxPage([rows.to_fax(row) for row in found], next_below)

    def events(self, wanted: EventFilter, below: str | None = None) -> EventPage:
        found, next_below = self._page(schema.event, _event_conditions(wanted), below)
        return EventPage([rows.to_event(row) for row in found], next_below)

    def _page(
        self, table: Table, conditions: list[ColumnElement[bool]], below: str | None
    ) -> tuple[list[dict[str, Any]], str | None]:
        looked_at = select(table.c.id).order_by(table.c.id.desc()).limit(SCAN)
        if below is not None:
            looked_at = looked_at.where(table.c.id < below)
        window = looked_at.subquery()
        last, count = self._sql.connection.execute(select(func.min(window.c.id), func.count()).select_from(window)).one()
        if not count:
            return [], None
        chosen = select(table).where(table.c.id >= last, *conditions).order_by(table.c.id.desc())
        if below is not None:
            chosen = chosen.where(table.c.id < below)
        return self._sql.rows(chosen), last if count == SCAN else None

    def usage(self, since: datetime, until: datetime, below: str | None = None) -> tuple[list[dict[str, Any]], str | None]:
        return usage_page(self._sql, since, until, below)

    def list_faxes(self, group: FaxGroup, wanted: ListFilter, below: str | None, limit: int) -> FaxesFound:
        return list_faxes(self._sql, group, wanted, below, limit)

    def list_received(self, wanted: ListFilter, below: str | None, limit: int) -> ReceivedFound:
        return list_received(self._sql, wanted, below, limit)

    def hour(self, start: datetime) -> HourCounts:
        return hour_counts(self._sql, start)

    def fax_ids(self, ending: str, limit: int = 3) -> list[str]:
        ids = self._ending(schema.fax, ending, limit) + self._ending(schema.received_item, ending, limit)
        token = select(_fax.id).where(_fax.token == ending.upper())
        return list(dict.fromkeys([*self._sql.connection.scalars(token), *ids]))[:limit]

    def event_ids(self, ending: str, limit: int = 3) -> list[str]:
        return self._ending(schema.event, ending, limit)

    def delivery_ids(self, ending: str, limit: int = 3) -> list[str]:
        return self._ending(schema.delivery, ending, limit)

    def _ending(self, table: Table, ending: str, limit: int) -> list[str]:
        found = select(table.c.id).where(table.c.id.endswith(ending.upper(), autoescape=True)).limit(limit)
        return list(self._sql.connection.scalars(found))

    def received(self, fax_id: str) -> Event | None:
        found = self._sql.rows(select(schema.event).where(_event.fax_id == fax_id, _event.type.in_(RECEIVED)))
        return rows.to_event(found[0]) if found else None


def _fax_conditions(wanted: FaxFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.state is not None:
        found.append(_fax.state == wanted.state)
    if wanted.user is not None:
        found.append(_fax.user == wanted.user)
    if wanted.account is not None:
        found.append(_fax.account == wanted.account)
    if wanted.number is not None:
        found.append(_number(wanted.number))
    for part, name in ((wanted.sender, "sender"), (wanted.subject, "subject")):
        if part is not None:
            found.append(func.lower(_fax.email[name].as_string()).contains(part.lower(), autoescape=True))
    if wanted.tag is not None:
        key, equals, value = wanted.tag.partition("=")
        stored = _fax.tags[key].as_string()
        found.append(stored == value if equals else stored.is_not(None))
    if wanted.since is not None:
        found.append(_fax.created_at >= wanted.since)
    if wanted.until is not None:
        found.append(_fax.created_at <= wanted.until)
    return found


def _number(written: str) -> ColumnElement[bool]:
    """Return the condition for a number as a person writes it: 03-9876543 is +97239876543, and so is 9876543."""
    digits = "".join(character for character in written if character in "0123456789")
    if written.strip().startswith("+"):
        return _fax.number.startswith(f"+{digits}", autoescape=True)
    return _fax.number.endswith(digits.removeprefix("00").removeprefix("0"), autoescape=True)


def _event_conditions(wanted: EventFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.types is not None:
        found.append(_event.type.in_(wanted.types))
    if wanted.fax_id is not None:
        found.append(_event.fax_id == wanted.fax_id)
    if wanted.since is not None:
        found.append(_event.at >= wanted.since)
    if wanted.until is not None:
        found.append(_event.at <= wanted.until)
    return found
