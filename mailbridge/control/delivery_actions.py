"""What a person may do to deliveries: replay dead ones, and retire those that wait for an endpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from mailbridge.control.fax_actions import By
from mailbridge.control.ids import whole_event_or_delivery_id
from mailbridge.errors import ControlError
from mailbridge.model import Delivery
from mailbridge.store.interface import Store, Transaction

Clock = Callable[[], datetime]

# Deliveries in one transaction, which must be short, and in one answer, which must not take long.
_BATCH, _PER_ANSWER = 200, 10_000
_NO_LIMIT = 10_000_000


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead deliveries to replay, or whose to retire."""

    before: datetime  # only those settled at or before this time, so that none is replayed twice by one command
    endpoint: str | None = None
    since: datetime | None = None  # the event's time
    until: datetime | None = None  # the event's time
    limit: int | None = None  # the oldest so many

    @classmethod
    def read(cls, now: datetime, **given: Any) -> Selection:
        """Return the selection that a request's arguments make. Raises ControlError."""
        try:
            named = [name for name in ("before", "since", "until") if given.get(name)]
            times = {name: datetime.fromisoformat(given.pop(name)).astimezone(UTC) for name in named}
            return cls(**{"before": now, **given, **times})
        except (TypeError, ValueError, OverflowError) as error:
            raise ControlError(f"invalid selection of deliveries: {error}") from None

    def has(self, delivery: Delivery, event_at: datetime) -> bool:
        """Whether this dead delivery, of an event of that time, is selected."""
        settled = delivery.settled_at is None or delivery.settled_at <= self.before
        return settled and (self.since is None or self.since <= event_at) and (self.until is None or event_at <= self.until)


async def replay(
    store: Store, clock: Clock, *, ids: Sequence[str] = (), retire: bool = False, by: By = None, **given: Any
) -> Any:
    """Deliver dead deliveries again: those with `ids`, all or none, or those of a Selection. With `retire`, see `_retire`.

    `by` is who does it, for the audit. Raises NotFound, ControlError.
    """
    if not ids:
        selection = Selection.read(clock(), **given)
        return await (_retire(store, clock, selection, by) if retire else _replay_selected(store, clock, selection, by))

    def work(tx: Transaction) -> list[dict[str, Any]]:
        dead: dict[str, Delivery] = {}
        for id in dict.fromkeys(whole_event_or_delivery_id(tx, given) for given in ids):
            found = _by_id(tx, id)
            if not any(delivery.state == "dead" for delivery in found):
                states = ", ".join(f"{delivery.state} to {delivery.endpoint}" for delivery in found) or "for no webhook"
                raise ControlError(f"{id} has no dead delivery: it is {states}")
            # A delivery may be named twice: by its own id, and by its event's.
            dead |= {delivery.id: delivery for delivery in found if delivery.state == "dead"}
        replayed = _replay(tx, list(dead), clock())
        for one in replayed if by is not None else ():
            tx.audit.note("delivery.replay", one.id, None, {**(by or {}), "webhook": one.endpoint}, clock())
        return [{"id": one.id, "event_id": one.event_id, "endpoint": one.endpoint, "state": one.state} for one in replayed]

    return await store.run(work)


def _by_id(tx: Transaction, id: str) -> list[Delivery]:
    """Return the delivery with this id, or those of the event with this id. Raises NotFound."""
    if id.startswith("dlv_"):
        return [tx.deliveries.get(id)]
    return tx.deliveries.newest(event_id=tx.events.get(id).id, limit=1000)


def _replay(tx: Transaction, ids: Sequence[str], now: datetime) -> list[Delivery]:
    """Make these dead deliveries pending again, and start their endpoints if 410 had stopped them."""
    replayed = [tx.deliveries.transition(id, "replay", now, due_at=now, attempts=0) for id in ids]
    for endpoint in {one.endpoint for one in replayed}:
        tx.stopped_webhooks.remove(endpoint)
    return replayed


async def _replay_selected(store: Store, clock: Clock, selection: Selection, by: By = None) -> dict[str, Any]:
    def find(tx: Transaction) -> list[str]:
        if by is not None:
            since = selection.since and selection.since.isoformat()
            tx.audit.note("webhook.replay", selection.endpoint or "", None, {**by, "since": since}, clock())
        if selection.endpoint is not None and not tx.stopped_webhooks.remove(selection.endpoint):
            _check_known(tx, selection.endpoint)
        return _dead(tx, selection)

    dead = await store.run(find)
    replayed: Counter[str] = Counter()
    limit = _PER_ANSWER if selection.limit is None else min(selection.limit, _PER_ANSWER)

    def replay_batch(tx: Transaction, ids: Sequence[str]) -> list[str]:
        deliveries = [delivery for delivery in map(tx.deliveries.get, ids) if delivery.state == "dead"]
        selected = [one.id for one in deliveries if selection.has(one, tx.events.get(one.event_id).at)]
        return [one.endpoint for one in _replay(tx, selected[: limit - replayed.total()], clock())]

    for start in range(0, len(dead), _BATCH):
        if replayed.total() >= limit:
            break
        replayed.update(await store.run(partial(replay_batch, ids=dead[start : start + _BATCH])))
    return _answer("replayed", replayed, selection, more=replayed.total() >= _PER_ANSWER)


def _dead(tx: Transaction, selection: Selection) -> list[str]:
    """Return the ids of dead deliveries, the oldest first."""
    found = tx.deliveries.newest("dead", None, _NO_LIMIT)
    return [one.id for one in reversed(found) if selection.endpoint in (None, one.endpoint)]


def _check_known(tx: Transaction, endpoint: str) -> None:
    names = sorted({name for name, _ in tx.deliveries.counts()})
    if endpoint not in names:
        raise ControlError(f"no deliveries for an endpoint {endpoint!r}; there are some for {', '.join(names) or 'none'}")


async def _retire(store: Store, clock: Clock, selection: Selection, by: By = None) -> dict[str, Any]:
    """Make the pending deliveries of an endpoint dead, such as one that left the configuration. `replay` can restore them."""
    endpoint = selection.endpoint
    if endpoint is None or (selection.since, selection.until, selection.limit) != (None, None, None):
        raise ControlError("retire goes with an endpoint and nothing else; name the endpoint whose deliveries are to be given up")
    name: str = endpoint

    def begin(tx: Transaction) -> None:
        _check_known(tx, name)
        if by is not None:
            tx.audit.note("webhook.retire", name, None, by, clock())

    await store.run(begin)

    def retire_batch(tx: Transaction) -> int:
        claimed = tx.deliveries.claim(name, datetime.max.replace(tzinfo=UTC), _BATCH)
        for delivery, _ in claimed:
            reason = "retired: a person gave up the deliveries that waited for this endpoint"
            tx.deliveries.transition(delivery.id, "reject", clock(), attempts=delivery.attempts - 1, error=reason)
        return len(claimed)

    retired: Counter[str] = Counter()
    while retired[name] < _PER_ANSWER and (count := await store.run(retire_batch)):
        retired[name] += count
    return _answer("retired", +retired, selection, more=retired[name] >= _PER_ANSWER)


def _answer(done: str, counts: Counter[str], selection: Selection, *, more: bool) -> dict[str, Any]:
    """Return how many there were. If there may be `more`, the client repeats its request with this `before`."""
    return {done: counts.total(), "endpoints": dict(counts), "more": more, "before": selection.before.isoformat()}
