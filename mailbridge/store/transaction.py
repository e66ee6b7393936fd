"""The verbs of one transaction, in SQLAlchemy Core. The one door for moves: compare-and-set and the event's row together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import fields, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Executable, delete, func, insert, select, update

from mailbridge import lifecycle
from mailbridge.errors import NotFound, StoreUnavailable
from mailbridge.lifecycle import DeliveryState, DeliveryTrigger, FaxState, FaxTrigger
from mailbridge.model import Cursor, Delivery, Envelope, Event, Fax, new_id
from mailbridge.store import queries, rows, schema
from mailbridge.store.receiving import Receiving

# Twice as long as a mail is known to have come before.
_MAILS_ARE_KNOWN = timedelta(days=2)
Describe = Callable[[Fax], dict[str, Any]]
Route = Callable[[str], Sequence[str]]


class SqlTransaction(Receiving):
    """A Transaction (see `store.interface`). `woken_topics` are the topics to notify after the commit."""

    def __init__(self, connection: Connection, describe: Describe, route: Route) -> None:
        super().__init__(connection)
        self._describe, self._route = describe, route
        self.woken_topics: set[str] = set()

    def _found(self, query: Executable, **parameters: Any) -> list[dict[str, Any]]:
        return [dict(row) for row in self._connection.execute(query, parameters).mappings()]

    def _faxes(self, query: Executable, **parameters: Any) -> list[Fax]:
        return [rows.to_fax(row) for row in self._found(query, **parameters)]

    def _one(self, query: Executable, id_: str, noun: str) -> dict[str, Any]:
        found = self._found(query, id=id_)
        if not found:
            raise NotFound(f"no {noun} has the id {id_}")
        return found[0]

    # submission

    def repeated(self, key: str, since: datetime) -> list[str]:
        return [row[0] for row in self._connection.execute(queries.FAX_IDS_BY_KEY, {"key": key, "since": since})]

    def accept(self, envelope: Envelope, faxes: Sequence[Fax], key: str | None, now: datetime) -> None:
        self._connection.execute(queries.ADD_ENVELOPE, rows.envelope_row(envelope, key))
        for fax in faxes:
            # Retention finds the faxes of a mail by this, and deletes no file while one of them is not final.
            self.add(replace(fax, envelope_id=envelope.id), now)

    def add(self, fax: Fax, now: datetime) -> None:
        queued = replace(fax, seq=fax.seq + 1)
        self._connection.execute(queries.ADD_FAX, rows.fax_row(queued))
        self._raise("fax.queued", queued, now)
        self.woken_topics.add(f"upload:{queued.account}")

    def count_since(self, user: str, since: datetime) -> int:
        mine = (schema.envelope.c.user == user, schema.envelope.c.received_at >= since)
        made = select(func.count()).join_from(schema.envelope, schema.fax, schema.fax.c.envelope_id == schema.envelope.c.id)
        return int(self._connection.execute(made.where(*mine)).scalar_one())

    # fax

    def fax(self, fax_id: str) -> Fax:
        return rows.to_fax(self._one(queries.FAX_BY_ID, fax_id, "fax"))

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
        if account is None:
            return self._faxes(queries.DUE_FAXES, state=state, now=now, limit=limit)
        return self._faxes(queries.DUE_FAXES_OF_ACCOUNT, state=state, now=now, account=account, limit=limit)

    def next_due(self, state: FaxState, account: str | None = None) -> datetime | None:
        if account is None:
            return self._connection.execute(queries.NEXT_DUE, {"state": state}).scalar()
        return self._connection.execute(queries.NEXT_DUE_OF_ACCOUNT, {"state": state, "account": account}).scalar()

    def expired(self, now: datetime, limit: int = 100) -> list[Fax]:
        return self._faxes(queries.EXPIRED_FAXES, now=now, limit=limit)

    def by_token(self, tokens: Collection[str]) -> list[Fax]:
        return self._faxes(queries.FAXES_BY_TOKENS, tokens=list(tokens))

    def by_fax_code(self, codes: Collection[str]) -> list[Fax]:
        return self._faxes(queries.FAXES_BY_CODES, codes=[code.lower() for code in codes])

    def by_number(self, numbers: Collection[str], since: datetime) -> list[Fax]:
        in_flight = self._faxes(queries.FAXES_IN_FLIGHT_TO, numbers=list(numbers))
        return in_flight + self._faxes(queries.FAXES_ENDED_TO, numbers=list(numbers), since=since)

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
        was = {"was_id": before.id, "was_state": before.state, "was_seq": before.seq}
        if self._connection.execute(queries.change_fax(frozenset(changed)), {**changed, **was}).rowcount != 1:
            raise StoreUnavailable(f"{before.id} was changed by another process")
        if {"state", "due_at"} & changed.keys():
            self._wake_for(after)

    def _wake_for(self, fax: Fax) -> None:
        if fax.state == "queued":
            self.woken_topics.add(f"upload:{fax.account}")
        elif fax.state == "submitted":
            self.woken_topics.add("poll")

    def shift(self, by: timedelta, now: datetime) -> int:
        run = self._connection.execute
        moved = sum(run(statement, {"by": by}).rowcount for statement in (*queries.SHIFT_DEADLINES, queries.SHIFT_RECEIPTS))
        self.woken_topics.add("poll")
        return moved + run(queries.SHIFT_MAILS, {"by": by, "since": now - _MAILS_ARE_KNOWN}).rowcount

    # outbox

    def _raise(self, type_: str, fax: Fax, now: datetime) -> Event:
        return self._put(Event(id=new_id("evt"), type=type_, at=now, fax_id=fax.id, seq=fax.seq, data=self._describe(fax)))

    def emit(self, type_: str, data: dict[str, Any], now: datetime, fax_id: str | None = None) -> Event:
        return self._put(Event(id=new_id("evt"), type=type_, at=now, fax_id=fax_id, seq=data.get("seq", 0), data=data))

    def _put(self, event: Event) -> Event:
        self._connection.execute(queries.ADD_EVENT, rows.event_row(event))
        for endpoint in self._route(event.type):
            pending = {
                "id": new_id("dlv"),
                "event_id": event.id,
                "endpoint": endpoint,
                "state": "pending",
                "due_at": event.at,
                "attempts": 0,
            }
            self._connection.execute(queries.ADD_DELIVERY, pending)
            self.woken_topics.add(f"deliver:{endpoint}")
        return event

    def mark(self, what: str, *, on: bool) -> bool:
        key = f"mark: {what}"
        mine = schema.meta.c.key == key
        was_on = bool(self._rows(select(schema.meta).where(mine)))
        if on and not was_on:
            self._connection.execute(insert(schema.meta), {"key": key, "value": "on"})
        elif was_on and not on:
            self._connection.execute(delete(schema.meta).where(mine))
        return was_on != on

    def event(self, event_id: str) -> Event:
        return rows.to_event(self._one(queries.EVENT_BY_ID, event_id, "event"))

    def events(self, fax_id: str | None = None, limit: int = 100) -> list[Event]:
        # Not by id alone: events of one move share a millisecond, in which ids are random.
        order = (schema.event.c.at.desc(), schema.event.c.seq.desc(), schema.event.c.id.desc())
        chosen = select(schema.event).order_by(*order).limit(limit)
        if fax_id is not None:
            chosen = chosen.where(schema.event.c.fax_id == fax_id)
        return [rows.to_event(row) for row in self._rows(chosen)]

    def claim_deliveries(self, endpoint: str, now: datetime, limit: int) -> list[tuple[Delivery, Event]]:
        due = self._found(queries.DUE_DELIVERIES, endpoint=endpoint, now=now, limit=limit)
        pending = [rows.to_delivery(row) for row in due]
        if not pending:
            return []
        sending = lifecycle.move_delivery("pending", "claim")
        claimed = [replace(delivery, state=sending, attempts=delivery.attempts + 1) for delivery in pending]
        ids = {"ids": [delivery.id for delivery in claimed], "to_state": sending}
        if self._connection.execute(queries.CLAIM_DELIVERIES, ids).rowcount != len(claimed):
            raise StoreUnavailable(f"deliveries to {endpoint} were changed by another process")
        wanted = self._found(queries.EVENTS_BY_IDS, ids=list({delivery.event_id for delivery in claimed}))
        events = {row["id"]: rows.to_event(row) for row in wanted}
        return [(delivery, events[delivery.event_id]) for delivery in claimed]

    def next_delivery(self, endpoint: str) -> datetime | None:
        return self._connection.execute(queries.NEXT_DELIVERY, {"endpoint": endpoint}).scalar()

    def settle(self, delivery_id: str, trigger: DeliveryTrigger, now: datetime, **changes: Any) -> Delivery:
        return self._settle(self.delivery(delivery_id), trigger, now, **changes)

    def _settle(self, before: Delivery, trigger: DeliveryTrigger, now: datetime, **changes: Any) -> Delivery:
        state = lifecycle.move_delivery(before.state, trigger)
        settled = now if state in ("delivered", "dead") else None
        after = replace(before, state=state, settled_at=settled, **changes)
        values = {name: getattr(after, name) for name in ("state", "due_at", "attempts", "status", "error", "settled_at")}
        was = {"was_id": before.id, "was_state": before.state}
        if self._connection.execute(queries.SETTLE_DELIVERY, {**values, **was}).rowcount != 1:
            raise StoreUnavailable(f"{before.id} was changed by another process")
        if state == "pending":
            self.woken_topics.add(f"deliver:{after.endpoint}")
        return after

    def delivery(self, delivery_id: str) -> Delivery:
        return rows.to_delivery(self._one(queries.DELIVERY_BY_ID, delivery_id, "delivery"))

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
            self.woken_topics.add(f"deliver:{endpoint}")
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
        place = {"mailbox": mailbox, "folder": folder, "uidvalidity": cursor.uidvalidity, "last_uid": cursor.last_uid}
        self._connection.execute(queries.ADVANCE, place)

    def first_sight(self, mailbox: str, digest: str, now: datetime) -> bool:
        noted = self._connection.execute(queries.NOTE_HANDLED, {"mailbox": mailbox, "digest": digest, "at": now})
        return bool(noted.rowcount == 1)
