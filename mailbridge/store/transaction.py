"""The verbs of one transaction, in SQLAlchemy Core. The one door for moves: compare-and-set and the event's row together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, func, insert, or_, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from mailbridge import lifecycle
from mailbridge.errors import NotFound, StoreUnavailable
from mailbridge.lifecycle import DeliveryState, DeliveryTrigger, FaxState, FaxTrigger
from mailbridge.model import Cursor, Delivery, Envelope, Event, Fax, new_id
from mailbridge.store import rows, schema

Describe = Callable[[Fax], dict[str, Any]]
Route = Callable[[str], Sequence[str]]
_REPORTS_COME_WITHIN = timedelta(days=1)


class SqlTransaction:
    """One transaction. `rung` collects the topics whose bells ring once it is committed."""

    def __init__(self, connection: Connection, describe: Describe, route: Route) -> None:
        self._connection, self._describe, self._route = connection, describe, route
        self.rung: set[str] = set()

    def _rows(self, statement: Any) -> list[dict[str, Any]]:
        return [dict(row) for row in self._connection.execute(statement).mappings()]

    def _one(self, table: Table, id_: str, noun: str) -> dict[str, Any]:
        found = self._rows(select(table).where(table.c.id == id_))
        if not found:
            raise NotFound(f"no {noun} has the id {id_}")
        return found[0]

    # submission

    def repeated(self, key: str, since: datetime) -> list[str]:
        first = (
            select(schema.envelope.c.id)
            .where(schema.envelope.c.key == key, schema.envelope.c.received_at >= since)
            .order_by(schema.envelope.c.received_at)
            .limit(1)
        ).scalar_subquery()
        chosen = select(schema.fax.c.id).where(schema.fax.c.envelope_id == first).order_by(schema.fax.c.id)
        return [row["id"] for row in self._rows(chosen)]

    def accept(self, envelope: Envelope, faxes: Sequence[Fax], key: str | None, now: datetime) -> None:
        self._connection.execute(insert(schema.envelope), rows.envelope_row(envelope, key))
        queued = [replace(fax, seq=fax.seq + 1) for fax in faxes]
        self._connection.execute(insert(schema.fax), [rows.fax_row(fax) for fax in queued])
        for fax in queued:
            self._raise("fax.queued", fax, now)
            self.rung.add(f"upload:{fax.account}")

    # fax

    def fax(self, fax_id: str) -> Fax:
        return rows.to_fax(self._one(schema.fax, fax_id, "fax"))

    def faxes(self, state: FaxState | None = None, limit: int = 100) -> list[Fax]:
        chosen = select(schema.fax).order_by(schema.fax.c.id.desc()).limit(limit)
        if state is not None:
            chosen = chosen.where(schema.fax.c.state == state)
        return [rows.to_fax(row) for row in self._rows(chosen)]

    def count_faxes(self) -> dict[FaxState, int]:
        counted = select(schema.fax.c.state, func.count().label("n")).group_by(schema.fax.c.state)
        return {row["state"]: row["n"] for row in self._rows(counted)}

    def due_fax(self, state: FaxState, now: datetime, account: str | None = None, limit: int = 1) -> list[Fax]:
        chosen = select(schema.fax).where(schema.fax.c.state == state, schema.fax.c.due_at <= now)
        if account is not None:
            chosen = chosen.where(schema.fax.c.account == account)
        return [rows.to_fax(row) for row in self._rows(chosen.order_by(schema.fax.c.due_at).limit(limit))]

    def next_due(self, state: FaxState, account: str | None = None) -> datetime | None:
        earliest = select(func.min(schema.fax.c.due_at)).where(schema.fax.c.state == state)
        if account is not None:
            earliest = earliest.where(schema.fax.c.account == account)
        return self._connection.execute(earliest).scalar()

    def expired(self, now: datetime, limit: int = 100) -> list[Fax]:
        chosen = (
            select(schema.fax)
            .where(schema.fax.c.state.in_(("queued", "submitted")), schema.fax.c.expires_at <= now)
            .order_by(schema.fax.c.expires_at)
            .limit(limit)
        )
        return [rows.to_fax(row) for row in self._rows(chosen)]

    def in_flight(self) -> list[Fax]:
        latest = self._connection.execute(select(func.max(schema.fax.c.final_at))).scalar()
        live: ColumnElement[bool] = schema.fax.c.state.in_(("uploading", "in_doubt", "submitted"))
        if latest is not None:
            live = or_(live, schema.fax.c.final_at >= latest - _REPORTS_COME_WITHIN)
        return [rows.to_fax(row) for row in self._rows(select(schema.fax).where(live))]

    def move(self, fax_id: str, trigger: FaxTrigger, now: datetime, **changes: Any) -> Fax:
        before = self.fax(fax_id)
        move = lifecycle.move_fax(before.state, trigger)
        if before.state in lifecycle.FAX_FINAL:
            after = before
        else:
            final = now if move.state in lifecycle.FAX_FINAL else None
            after = replace(before, state=move.state, final_at=final, **changes)
        for type_ in move.events:
            after = replace(after, seq=after.seq + 1)
            self._raise(type_, after, now)
        self._write(before, after)
        return after

    def update(self, fax_id: str, **changes: Any) -> Fax:
        before = self.fax(fax_id)
        after = replace(before, **changes)
        self._write(before, after)
        return after

    def _write(self, before: Fax, after: Fax) -> None:
        old, new = rows.fax_row(before), rows.fax_row(after)
        changed = {name: value for name, value in new.items() if value != old[name]}
        if not changed:
            return
        guarded = (schema.fax.c.id == before.id, schema.fax.c.state == before.state, schema.fax.c.seq == before.seq)
        if self._connection.execute(update(schema.fax).where(*guarded).values(**changed)).rowcount != 1:
            raise StoreUnavailable(f"{before.id} was changed by another process")
        if {"state", "due_at"} & changed.keys():
            self._ring_for(after)

    def _ring_for(self, fax: Fax) -> None:
        if fax.state == "queued":
            self.rung.add(f"upload:{fax.account}")
        elif fax.state == "submitted":
            self.rung.add("poll")

    # outbox

    def _raise(self, type_: str, fax: Fax, now: datetime) -> Event:
        return self._put(Event(id=new_id("evt"), type=type_, at=now, fax_id=fax.id, seq=fax.seq, data=self._describe(fax)))

    def emit(self, type_: str, data: dict[str, Any], now: datetime, fax_id: str | None = None) -> Event:
        return self._put(Event(id=new_id("evt"), type=type_, at=now, fax_id=fax_id, seq=data.get("seq", 0), data=data))

    def _put(self, event: Event) -> Event:
        row = {name: getattr(event, name) for name in schema.event.c.keys()}  # noqa: SIM118 (a column collection, no mapping)
        self._connection.execute(insert(schema.event), {**row, "data": rows.plain(event.data)})
        for endpoint in self._route(event.type):
            pending = {
                "id": new_id("dlv"),
                "event_id": event.id,
                "endpoint": endpoint,
                "state": "pending",
                "due_at": event.at,
                "attempts": 0,
            }
            self._connection.execute(insert(schema.delivery), pending)
            self.rung.add(f"deliver:{endpoint}")
        return event

    def event(self, event_id: str) -> Event:
        return rows.to_event(self._one(schema.event, event_id, "event"))

    def events(self, fax_id: str | None = None, limit: int = 100) -> list[Event]:
        chosen = select(schema.event).order_by(schema.event.c.id.desc()).limit(limit)
        if fax_id is not None:
            chosen = chosen.where(schema.event.c.fax_id == fax_id)
        return sorted((rows.to_event(row) for row in self._rows(chosen)), key=lambda e: (e.at, e.seq), reverse=True)

    def claim_deliveries(self, endpoint: str, now: datetime, limit: int) -> list[tuple[Delivery, Event]]:
        due = (
            select(schema.delivery)
            .where(schema.delivery.c.endpoint == endpoint, schema.delivery.c.state == "pending", schema.delivery.c.due_at <= now)
            .order_by(schema.delivery.c.due_at)
            .limit(limit)
        )
        claimed = []
        for delivery in map(rows.to_delivery, self._rows(due)):
            taken = self._settle(delivery, "claim", now, attempts=delivery.attempts + 1)
            claimed.append((taken, self.event(delivery.event_id)))
        return claimed

    def next_delivery(self, endpoint: str) -> datetime | None:
        pending = (schema.delivery.c.endpoint == endpoint, schema.delivery.c.state == "pending")
        return self._connection.execute(select(func.min(schema.delivery.c.due_at)).where(*pending)).scalar()

    def settle(self, delivery_id: str, trigger: DeliveryTrigger, now: datetime, **changes: Any) -> Delivery:
        return self._settle(rows.to_delivery(self._one(schema.delivery, delivery_id, "delivery")), trigger, now, **changes)

    def _settle(self, before: Delivery, trigger: DeliveryTrigger, now: datetime, **changes: Any) -> Delivery:
        state = lifecycle.move_delivery(before.state, trigger)
        settled = now if state in ("delivered", "dead") else None
        after = replace(before, state=state, settled_at=settled, **changes)
        values = {name: getattr(after, name) for name in ("state", "due_at", "attempts", "status", "error", "settled_at")}
        guarded = (schema.delivery.c.id == before.id, schema.delivery.c.state == before.state)
        if self._connection.execute(update(schema.delivery).where(*guarded).values(**values)).rowcount != 1:
            raise StoreUnavailable(f"{before.id} was changed by another process")
        if state == "pending":
            self.rung.add(f"deliver:{after.endpoint}")
        return after

    def deliveries(self, state: DeliveryState | None = None, event_id: str | None = None, limit: int = 100) -> list[Delivery]:
        chosen = select(schema.delivery).order_by(schema.delivery.c.id.desc()).limit(limit)
        if state is not None:
            chosen = chosen.where(schema.delivery.c.state == state)
        if event_id is not None:
            chosen = chosen.where(schema.delivery.c.event_id == event_id)
        return [rows.to_delivery(row) for row in self._rows(chosen)]

    def count_deliveries(self) -> dict[tuple[str, DeliveryState], int]:
        by = (schema.delivery.c.endpoint, schema.delivery.c.state)
        counted = select(*by, func.count().label("n")).group_by(*by)
        return {(row["endpoint"], row["state"]): row["n"] for row in self._rows(counted)}

    def lose_deliveries(self, now: datetime) -> int:
        sending = select(schema.delivery).where(schema.delivery.c.state == "sending")
        lost = [rows.to_delivery(row) for row in self._rows(sending)]
        for delivery in lost:
            self._settle(delivery, "lose", now)
        return len(lost)

    # mailbox

    def cursor(self, mailbox: str, folder: str) -> Cursor | None:
        here = (schema.cursor.c.mailbox == mailbox, schema.cursor.c.folder == folder)
        found = self._rows(select(schema.cursor).where(*here))
        return Cursor(uidvalidity=found[0]["uidvalidity"], last_uid=found[0]["last_uid"]) if found else None

    def advance(self, mailbox: str, folder: str, cursor: Cursor) -> None:
        values = {"uidvalidity": cursor.uidvalidity, "last_uid": cursor.last_uid}
        place = upsert(schema.cursor).values(mailbox=mailbox, folder=folder, **values)
        self._connection.execute(place.on_conflict_do_update(index_elements=["mailbox", "folder"], set_=values))

    def first_sight(self, mailbox: str, digest: str, now: datetime) -> bool:
        note = upsert(schema.handled).values(mailbox=mailbox, digest=digest, at=now).on_conflict_do_nothing()
        return self._connection.execute(note).rowcount == 1
