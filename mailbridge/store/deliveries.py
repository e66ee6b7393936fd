"""Deliveries: one event on its way to one endpoint."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import fields, replace
from datetime import datetime
from functools import partial
from itertools import chain
from typing import Any, Final, cast

from sqlalchemy import ColumnElement, bindparam, func, select, text, update

from mailbridge import lifecycle, metrics
from mailbridge.errors import IllegalTransition, NotFound
from mailbridge.lifecycle import DeliveryState, DeliveryTrigger
from mailbridge.model import Delivery, Event, new_id
from mailbridge.store import rows, schema
from mailbridge.store.counters import counters
from mailbridge.store.delivery_interface import DeliveryChange
from mailbridge.store.multi_insert import insert_rows
from mailbridge.store.prepared import Prepared
from mailbridge.store.rivals import nobody_works_on
from mailbridge.store.sql import Overtaken, Sql, any_of
from mailbridge.store.webhook_records import DeliveryTry

_delivery = schema.delivery.c
_BY_ID: Final = Prepared(select(schema.delivery).where(_delivery.id == bindparam("id")))
_BY_IDS: Final = Prepared(select(schema.delivery).where(_delivery.id.in_(any_of("ids"))))
_PENDING = (_delivery.endpoint == bindparam("endpoint"), _delivery.state == "pending")
_DUE: Final = Prepared(
    select(schema.delivery)
    .where(*_PENDING, _delivery.due_at <= bindparam("now"))
    .order_by(_delivery.due_at)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)  # where other processes claim too; SQLite has no such clause
)
# As it stands in the index: SQLite does not conclude it from the state.
_UNDELIVERED: Final = text("delivery.state <> 'delivered'")
_OLDEST: Final = (
    select(schema.delivery)
    .where(_delivery.endpoint == bindparam("endpoint"), _delivery.state == bindparam("state"), _UNDELIVERED)
    .order_by(_delivery.id)
    .limit(1)
)
_NEXT_DUE: Final = Prepared(select(func.min(_delivery.due_at)).where(*_PENDING))
_CLAIM: Final = Prepared(
    update(schema.delivery)
    .where(_delivery.id.in_(any_of("ids")), _delivery.state == "pending")
    .values(state=bindparam("to_state"), attempts=_delivery.attempts + 1, settled_at=None, node=bindparam("by_node"))
)
_EVENTS: Final = Prepared(select(schema.event).where(schema.event.c.id.in_(any_of("ids"))))
_try = schema.delivery_try.c
_TRY: Final = tuple(field.name for field in fields(DeliveryTry))
_TRIES: Final = select(schema.delivery_try).where(_try.delivery_id.in_(any_of("ids"))).order_by(_try.at, _try.id)
_CHANGED = ("state", "due_at", "attempts", "status", "error", "settled_at")
_CHANGE: Final = Prepared(
    update(schema.delivery)
    .where(_delivery.id == bindparam("was_id"), _delivery.state == bindparam("was_state"))
    .values({name: bindparam(name) for name in _CHANGED})
)


class Deliveries:
    """See `store.delivery_interface.Deliveries`."""

    __slots__ = ("_sql",)

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def get(self, delivery_id: str) -> Delivery:
        return rows.to_delivery(self._sql.one(_BY_ID, delivery_id, "delivery"))

    def newest(
        self,
        state: DeliveryState | None = None,
        event_id: str | None = None,
        limit: int = 100,
        *,
        endpoint: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        below: str | None = None,
    ) -> list[Delivery]:
        chosen = select(schema.delivery).order_by(_delivery.id.desc()).limit(limit)
        if below is not None:
            chosen = chosen.where(_delivery.id < below)
        if state is not None:
            chosen = chosen.where(_delivery.state == state)
            if endpoint is None:
                chosen = chosen.where(_delivery.endpoint.in_(self._endpoints_with(state)))
            if state != "delivered":
                chosen = chosen.where(_UNDELIVERED)
        if event_id is not None:
            chosen = chosen.where(_delivery.event_id == event_id)
        if endpoint is not None:
            chosen = chosen.where(_delivery.endpoint == endpoint)
        if since is not None or until is not None:
            at = schema.event.c.at
            limits = [at >= since] if since else []
            limits += [at <= until] if until else []
            chosen = chosen.where(_delivery.event_id.in_(select(schema.event.c.id).where(*limits)))
        return [rows.to_delivery(row) for row in self._sql.rows(chosen)]

    def oldest_waiting(self, endpoint: str) -> Delivery | None:
        of_states = (self._sql.rows(_OLDEST, endpoint=endpoint, state=state) for state in ("pending", "sending"))
        found = [rows.to_delivery(row) for row in chain.from_iterable(of_states)]
        return min(found, key=lambda delivery: delivery.id, default=None)

    def counts(self) -> dict[tuple[str, DeliveryState], int]:
        return {(row["endpoint"], row["state"]): row["n"] for row in counters(self._sql, "delivery")}

    def claim(self, endpoint: str, now: datetime, limit: int, under_way: Collection[str] = ()) -> list[tuple[Delivery, Event]]:
        if self._sql.is_unsettled:
            self._requeue(endpoint, nobody_works_on("delivery", self._sql, own=True), _delivery.id.not_in(under_way))
        due = self._sql.rows(_DUE, endpoint=endpoint, now=now, limit=limit)
        pending = [rows.to_delivery(row) for row in due]
        if not pending:
            return []
        sending = lifecycle.delivery_transition("pending", "claim")
        claimed = [replace(one, state=sending, attempts=one.attempts + 1, node=self._sql.node_id) for one in pending]
        ids = {"ids": [delivery.id for delivery in claimed], "to_state": sending, "by_node": self._sql.node_id}
        if self._sql.change(_CLAIM, ids) != len(claimed):
            raise Overtaken(f"deliveries to {endpoint} were changed by another process")
        wanted = self._sql.rows(_EVENTS, ids=list({delivery.event_id for delivery in claimed}))
        events = {row["id"]: rows.to_event(row) for row in wanted}
        return [(delivery, events[delivery.event_id]) for delivery in claimed]

    def next_due(self, endpoint: str) -> datetime | None:
        return cast("datetime | None", self._sql.value(_NEXT_DUE, endpoint=endpoint))

    def transition(self, delivery_id: str, trigger: DeliveryTrigger, now: datetime, **changes: Any) -> Delivery:
        before = self.get(delivery_id)
        after = _changed(before, DeliveryChange(delivery_id, trigger, now, changes))
        self._write([(before, after, trigger)])
        return after

    def transition_all(self, changes: Sequence[DeliveryChange]) -> dict[str, NotFound | IllegalTransition]:
        if not changes:
            return {}
        found = {row["id"]: rows.to_delivery(row) for row in self._sql.rows(_BY_IDS, ids=[one.delivery_id for one in changes])}
        errors: dict[str, NotFound | IllegalTransition] = {}
        changed = []
        for one in changes:
            before = found.get(one.delivery_id)
            if before is None:
                errors[one.delivery_id] = NotFound(f"no delivery has the id {one.delivery_id}")
                continue
            try:
                after = found[one.delivery_id] = _changed(before, one)
            except IllegalTransition as error:
                errors[one.delivery_id] = error
                continue
            changed.append((before, after, one.trigger))
        self._write(changed)
        return errors

    def _write(self, changed: Sequence[tuple[Delivery, Delivery, DeliveryTrigger]]) -> None:
        """Store deliveries, each given as it was and as it is after its trigger."""
        if not changed:
            return
        values = [
            {**{name: getattr(after, name) for name in _CHANGED}, "was_id": before.id, "was_state": before.state}
            for before, after, _ in changed
        ]
        if sum(self._sql.change(_CHANGE, one) for one in values) != len(values):
            raise Overtaken("deliveries were changed by another process")
        for _, after, trigger in changed:
            self._sql.after_commit.append(partial(metrics.delivery_moved, after.endpoint, trigger))
            if after.state == "pending":
                self._sql.topics.add(f"deliver:{after.endpoint}")

    def add_tries(self, tries: Sequence[DeliveryTry]) -> None:
        if tries:
            added = [{"id": new_id("try"), **{name: getattr(one, name) for name in _TRY}} for one in tries]
            insert_rows(self._sql.connection, schema.delivery_try, added)

    def tries(self, delivery_ids: Collection[str]) -> list[DeliveryTry]:
        found = self._sql.rows(_TRIES, ids=list(delivery_ids))
        return [DeliveryTry(**{name: value for name, value in row.items() if name != "id"}) for row in found]

    def requeue_interrupted(self, endpoints: Collection[str] | None = None) -> int:
        requeued = 0
        for endpoint in self._endpoints_with("sending"):
            if endpoints is not None and endpoint not in endpoints:
                continue
            requeued += self._requeue(endpoint, nobody_works_on("delivery", self._sql, own=endpoints is not None))
        return requeued

    def _requeue(self, endpoint: str, *which: ColumnElement[bool]) -> int:
        """Change these deliveries of an endpoint from `sending` to `pending`; return how many."""
        pending = lifecycle.delivery_transition("sending", "lose")
        sending = (_delivery.endpoint == endpoint, _delivery.state == "sending", *which)
        changed = self._sql.execute(update(schema.delivery).where(*sending).values(state=pending, settled_at=None)).rowcount
        if changed:
            self._sql.topics.add(f"deliver:{endpoint}")
        return changed

    def _endpoints_with(self, state: DeliveryState) -> list[str]:
        """Return the endpoints that have deliveries in `state`: naming them makes a query use the index by endpoint and state."""
        return [row["endpoint"] for row in counters(self._sql, "delivery") if row["state"] == state]


def _changed(before: Delivery, change: DeliveryChange) -> Delivery:
    """Return a delivery after a change. Raises IllegalTransition."""
    state = lifecycle.delivery_transition(before.state, change.trigger)
    settled_at = change.at if state in ("delivered", "dead") else None
    return replace(before, state=state, settled_at=settled_at, **change.changes)
