"""The verbs of one transaction, in SQLAlchemy Core. The one door for moves: compare-and-set and the event's row together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, bindparam, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from mailbridge import lifecycle
from mailbridge.errors import NotFound, StoreUnavailable
from mailbridge.lifecycle import DeliveryState, DeliveryTrigger, FaxState, FaxTrigger
from mailbridge.model import Cursor, Delivery, Envelope, Event, Fax, new_id
from mailbridge.store import rows, schema
from mailbridge.store.retire import Retiring

Describe = Callable[[Fax], dict[str, Any]]
Route = Callable[[str], Sequence[str]]


# Built once: to build a statement costs as much as to run it.
_FIRST = (
    select(schema.envelope.c.id)
    .where(schema.envelope.c.key == bindparam("key"), schema.envelope.c.received_at >= bindparam("since"))
    .order_by(schema.envelope.c.received_at)
    .limit(1)
).scalar_subquery()
_REPEATED = select(schema.fax.c.id).where(schema.fax.c.envelope_id == _FIRST).order_by(schema.fax.c.id)
_ENVELOPE, _FAX, _EVENT, _DELIVERY = (insert(table) for table in (schema.envelope, schema.fax, schema.event, schema.delivery))


class SqlTransaction(Retiring):
    """One transaction. `rung` collects the topics whose bells ring once it is committed."""

    def __init__(self, connection: Connection, describe: Describe, route: Route) -> None:
        super().__init__(connection)
        self._describe, self._route = describe, route
        self.rung: set[str] = set()

    def _one(self, table: Table, id_: str, noun: str) -> dict[str, Any]:
        found = self._rows(select(table).where(table.c.id == id_))
        if not found:
            raise NotFound(f"no {noun} has the id {id_}")
        return found[0]

    # submission

    def repeated(self, key: str, since: datetime) -> list[str]:
        return [row[0] for row in self._connection.execute(_REPEATED, {"key": key, "since": since})]

    def accept(self, envelope: Envelope, faxes: Sequence[Fax], key: str | None, now: datetime) -> None:
        self._connection.execute(_ENVELOPE, rows.envelope_row(envelope, key))
        for fax in faxes:
            # Retention finds the faxes of a mail by this, and deletes no file while one of them is not final.
            self.add(replace(fax, envelope_id=envelope.id), now)

    def add(self, fax: Fax, now: datetime) -> None:
        queued = replace(fax, seq=fax.seq + 1)
        self._connection.execute(_FAX, rows.fax_row(queued))
        self._raise("fax.queued", queued, now)
        self.rung.add(f"upload:{queued.account}")

    def count_since(self, user: str, since: datetime) -> int:
        mine = (schema.envelope.c.user == user, schema.envelope.c.received_at >= since)
        made = select(func.count()).join_from(schema.envelope, schema.fax, schema.fax.c.envelope_id == schema.envelope.c.id)
        return int(self._connection.execute(made.where(*mine)).scalar_one())

    # fax

    def fax(self, fax_id: str) -> Fax:
        return rows.to_fax(self._one(schema.fax, fax_id, "fax"))

    def faxes(self, state: FaxState | None = None, limit: int = 100) -> list[Fax]:
        chosen = select(schema.fax).order_by(schema.fax.c.id.desc()).limit(limit)
        if state is not None:
            chosen = chosen.where(schema.fax.c.state == state)
        return [rows.to_fax(row) for row in self._rows(chosen)]

    def count_faxes(self) -> dict[FaxState, int]:
        return {row["state"]: row["n"] for row in self._counted("fax")}

    def _counted(self, noun: str) -> list[dict[str, Any]]:
        return self._rows(select(schema.tally).where(schema.tally.c.noun == noun, schema.tally.c.n > 0))

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

    def by_token(self, tokens: Collection[str]) -> list[Fax]:
        return self._chosen(schema.fax.c.token.in_(tokens))

    def by_fax_code(self, codes: Collection[str]) -> list[Fax]:
        return self._chosen(func.lower(schema.fax.c.fax_code).in_([code.lower() for code in codes]))

    def by_number(self, numbers: Collection[str], since: datetime) -> list[Fax]:
        open_ = and_(schema.fax.c.final_at.is_(None), schema.fax.c.state.in_(("uploading", "in_doubt", "submitted")))
        to = schema.fax.c.number.in_(numbers)
        # Asked in two questions, since an OR would read every fax that ever went to the number.
        return [fax for when in (open_, schema.fax.c.final_at >= since) for fax in self._chosen(and_(to, when))]

    def _chosen(self, where: ColumnElement[bool]) -> list[Fax]:
        return [rows.to_fax(row) for row in self._rows(select(schema.fax).where(where))]

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
        values = {field.name: getattr(after, field.name) for field in fields(Fax)}
        changed = rows.fax_values({name: value for name, value in values.items() if value != getattr(before, name)})
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
        self._connection.execute(_EVENT, rows.event_row(event))
        for endpoint in self._route(event.type):
            pending = {
                "id": new_id("dlv"),
                "event_id": event.id,
                "endpoint": endpoint,
                "state": "pending",
                "due_at": event.at,
                "attempts": 0,
            }
            self._connection.execute(_DELIVERY, pending)
            self.rung.add(f"deliver:{endpoint}")
        return event

    def event(self, event_id: str) -> Event:
        return rows.to_event(self._one(schema.event, event_id, "event"))

    def events(self, fax_id: str | None = None, limit: int = 100) -> list[Event]:
        # Not by id alone: events of one move share a millisecond, in which ids are random.
        order = (schema.event.c.at.desc(), schema.event.c.seq.desc(), schema.event.c.id.desc())
        chosen = select(schema.event).order_by(*order).limit(limit)
        if fax_id is not None:
            chosen = chosen.where(schema.event.c.fax_id == fax_id)
        return [rows.to_event(row) for row in self._rows(chosen)]

    def claim_deliveries(self, endpoint: str, now: datetime, limit: int) -> list[tuple[Delivery, Event]]:
        due = (
            select(schema.delivery)
            .where(schema.delivery.c.endpoint == endpoint, schema.delivery.c.state == "pending", schema.delivery.c.due_at <= now)
            .order_by(schema.delivery.c.due_at)
            .limit(limit)
        )
        pending = [rows.to_delivery(row) for row in self._rows(due)]
        if not pending:
            return []
        sending = lifecycle.move_delivery("pending", "claim")
        claimed = [replace(delivery, state=sending, attempts=delivery.attempts + 1) for delivery in pending]
        here = schema.delivery.c
        values = {"state": sending, "attempts": here.attempts + 1, "settled_at": None}
        guarded = (here.id.in_([delivery.id for delivery in claimed]), here.state == "pending")
        if self._connection.execute(update(schema.delivery).where(*guarded).values(**values)).rowcount != len(claimed):
            raise StoreUnavailable(f"deliveries to {endpoint} were changed by another process")
        wanted = select(schema.event).where(schema.event.c.id.in_({delivery.event_id for delivery in claimed}))
        events = {row["id"]: rows.to_event(row) for row in self._rows(wanted)}
        return [(delivery, events[delivery.event_id]) for delivery in claimed]

    def next_delivery(self, endpoint: str) -> datetime | None:
        pending = (schema.delivery.c.endpoint == endpoint, schema.delivery.c.state == "pending")
        return self._connection.execute(select(func.min(schema.delivery.c.due_at)).where(*pending)).scalar()

    def settle(self, delivery_id: str, trigger: DeliveryTrigger, now: datetime, **changes: Any) -> Delivery:
        return self._settle(self.delivery(delivery_id), trigger, now, **changes)

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

    def delivery(self, delivery_id: str) -> Delivery:
        return rows.to_delivery(self._one(schema.delivery, delivery_id, "delivery"))

    def deliveries(self, state: DeliveryState | None = None, event_id: str | None = None, limit: int = 100) -> list[Delivery]:
        chosen = select(schema.delivery).order_by(schema.delivery.c.id.desc()).limit(limit)
        if state is not None:
            chosen = chosen.where(schema.delivery.c.endpoint.in_(self._endpoints_with(state)), schema.delivery.c.state == state)
        if event_id is not None:
            chosen = chosen.where(schema.delivery.c.event_id == event_id)
        return [rows.to_delivery(row) for row in self._rows(chosen)]

    def count_deliveries(self) -> dict[tuple[str, DeliveryState], int]:
        return {(row["endpoint"], row["state"]): row["n"] for row in self._counted("delivery")}

    def lose_deliveries(self, now: datetime) -> int:
        pending, lost = lifecycle.move_delivery("sending", "lose"), 0
        for endpoint in self._endpoints_with("sending"):
            sending = (schema.delivery.c.endpoint == endpoint, schema.delivery.c.state == "sending")
            moved = update(schema.delivery).where(*sending).values(state=pending, settled_at=None)
            lost += self._connection.execute(moved).rowcount
            self.rung.add(f"deliver:{endpoint}")
        return lost

    def _endpoints_with(self, state: DeliveryState) -> list[str]:
        """Named, they make the index by endpoint and state serve a question that has no endpoint."""
        return [row["endpoint"] for row in self._counted("delivery") if row["state"] == state]

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
