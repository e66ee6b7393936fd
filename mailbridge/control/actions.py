"""What a person may do to a fax or a delivery: each refusal says what state forbids it, and what helps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

from mailbridge.control.queries import fax_told
from mailbridge.errors import ControlError
from mailbridge.lifecycle import FaxState, FaxTrigger
from mailbridge.model import Delivery, Failure, Fax, last_attempt, new_id, new_token
from mailbridge.store.interface import Store, Transaction

Clock = Callable[[], datetime]

# A transaction must be short, and so must be the time until an answer.
_BATCH, _AT_ONCE, _ALL = 200, 10_000, 10_000_000

_NOT_CANCELLED: dict[FaxState, str] = {
    "uploading": "it is being uploaded at this moment, and MyFax may have it",
    "submitted": "MyFax has it, and knows no way to take it back",
    "in_doubt": "MyFax may have it; end the doubt with mailbridge resolve",
    "delivered": "it has arrived",
    "failed": "it has failed already",
    "cancelled": "it is cancelled already",
}
_NOT_RETRIED: dict[FaxState, str] = {
    "uploading": "it is being uploaded at this moment",
    "submitted": "MyFax has it and is still trying",
    "in_doubt": "MyFax may have it, and a second one may arrive; end the doubt with mailbridge resolve",
    "delivered": "it has arrived; to send it once more, use mailbridge send",
}


async def cancel(store: Store, clock: Clock, *, id: str) -> dict[str, Any]:
    """Cancel a fax that waits. Raises NotFound, ControlError."""

    def work(tx: Transaction) -> dict[str, Any]:
        fax = tx.faxes.get(id)
        if fax.state != "queued":
            raise ControlError(f"{id} cannot be cancelled: {_NOT_CANCELLED[fax.state]}")
        return fax_told(tx.faxes.transition(id, "cancel", clock(), source="person"))

    return await store.run(work)


async def retry(store: Store, clock: Clock, *, id: str) -> dict[str, Any]:
    """Send a waiting fax now, or queue a new one in place of one that failed or was cancelled; return the fax that is sent.

    Raises NotFound, ControlError.
    """

    def work(tx: Transaction) -> dict[str, Any]:
        fax, now = tx.faxes.get(id), clock()
        if fax.state == "queued":
            return fax_told(tx.faxes.update(id, due_at=now))
        if fax.state in _NOT_RETRIED:
            raise ControlError(f"{id} cannot be sent again: {_NOT_RETRIED[fax.state]}")
        if not fax.documents or not all(document.path for document in fax.documents):
            raise ControlError(f"{id} cannot be sent again: its documents were deleted (retention.documents)")
        again = _again(fax, now)
        tx.faxes.add(again, now)
        return fax_told(tx.faxes.get(again.id))

    return await store.run(work)


def _again(fax: Fax, now: datetime) -> Fax:
    return Fax(
        id=new_id("fax"),
        envelope_id=fax.envelope_id,
        account=fax.account,
        number=fax.number,
        state="queued",
        token=new_token(),
        documents=fax.documents,
        created_at=now,
        due_at=now,
        expires_at=_anew(fax, now),
        pages=fax.pages,
        email=fax.email,
        tags={**fax.tags, "retry_of": fax.id},
    )


def _anew(fax: Fax, now: datetime) -> datetime:
    """Return when a fax that a person starts again is given up: it has as long as it had at first."""
    return now + (fax.expires_at - fax.created_at)


async def resolve(
    store: Store, clock: Clock, *, id: str, as_: Literal["sent", "resend", "failed"], fax_code: str | None = None
) -> dict[str, Any]:
    """End a doubt by a person's word; with a FAX_CODE a sent fax is followed to its end. Raises NotFound, ControlError."""

    def work(tx: Transaction) -> dict[str, Any]:
        fax, now = tx.faxes.get(id), clock()
        if fax.state != "in_doubt":
            raise ControlError(f"{id} is {fax.state}, and only a fax in doubt can be resolved")
        trigger, changes = _word(fax, as_, fax_code, now)
        return fax_told(tx.faxes.transition(id, trigger, now, source="person", **changes))

    return await store.run(work)


def _word(fax: Fax, as_: str, fax_code: str | None, now: datetime) -> tuple[FaxTrigger, dict[str, Any]]:
    # A doubt may last longer than fax.give_up, and the person's word must count all the same.
    going_on = {"due_at": now, "expires_at": _anew(fax, now)}
    if as_ == "sent" and fax_code:
        return "accept", {**going_on, "fax_code": fax_code, "attempts": last_attempt(fax, fax_code=fax_code, error_code=None)}
    if as_ == "sent":
        return "confirm", {"attempts": last_attempt(fax, error_code=None)}
    if as_ == "resend":
        return "resend", going_on
    if as_ == "failed":
        return "abandon", {"failure": Failure(code="abandoned", message="a person resolved the doubt: it was not sent")}
    raise ControlError(f"a doubt is resolved as sent, resend or failed, not as {as_!r}")


async def replay(store: Store, clock: Clock, *, ids: Sequence[str] = (), retire: bool = False, **chosen: Any) -> Any:
    """Deliver dead deliveries again: those named, all or none, or those of a `Choice`; or retire what waits for an endpoint.

    Raises NotFound, ControlError.
    """
    if not ids:
        choice = Choice.read(clock(), **chosen)
        return await (_retire_chosen if retire else _replay_chosen)(store, clock, choice)

    def work(tx: Transaction) -> list[dict[str, Any]]:
        now, dead = clock(), dict[str, Delivery]()
        for id in dict.fromkeys(ids):
            found = _deliveries(tx, id)
            if not any(delivery.state == "dead" for delivery in found):
                states = ", ".join(f"{delivery.state} to {delivery.endpoint}" for delivery in found) or "for no webhook"
                raise ControlError(f"nothing of {id} is dead: it is {states}")
            # One may be named twice: by itself, and by its event.
            dead |= {delivery.id: delivery for delivery in found if delivery.state == "dead"}
        replayed = _replay(tx, list(dead), now)
        return [{"id": one.id, "event_id": one.event_id, "endpoint": one.endpoint, "state": one.state} for one in replayed]

    return await store.run(work)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which deliveries: of an endpoint, of events raised from `since` to `until`, the oldest `limit`, settled before `before`."""

    before: datetime
    endpoint: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int | None = None

    @classmethod
    def read(cls, now: datetime, **given: Any) -> Choice:
        """Return the choice that a request's words make. Raises ControlError."""
        try:
            named = [name for name in ("before", "since", "until") if given.get(name)]
            times = {name: datetime.fromisoformat(given.pop(name)).astimezone(UTC) for name in named}
            return cls(**{"before": now, **given, **times})
        except (TypeError, ValueError, OverflowError) as error:
            raise ControlError(f"this choice of deliveries cannot be read: {error}") from None

    def has(self, delivery: Delivery, raised: datetime) -> bool:
        """Whether it means this dead delivery of an event raised at that time."""
        settled = delivery.settled_at is None or delivery.settled_at <= self.before
        return settled and (self.since is None or self.since <= raised) and (self.until is None or raised <= self.until)


async def _replay_chosen(store: Store, clock: Clock, choice: Choice) -> dict[str, Any]:
    def find(tx: Transaction) -> list[str]:
        if choice.endpoint is not None and not tx.stopped_webhooks.remove(choice.endpoint):
            _known(tx, choice.endpoint)
        return _dead(tx, choice)

    dead = await store.run(find)
    replayed: Counter[str] = Counter()
    limit = _AT_ONCE if choice.limit is None else min(choice.limit, _AT_ONCE)

    def some(tx: Transaction, ids: Sequence[str]) -> list[str]:
        now = clock()
        found = [
            one for one in map(tx.deliveries.get, ids) if one.state == "dead" and choice.has(one, tx.events.get(one.event_id).at)
        ]
        return [one.endpoint for one in _replay(tx, [one.id for one in found[: limit - sum(replayed.values())]], now)]

    for start in range(0, len(dead), _BATCH):
        if sum(replayed.values()) >= limit:
            break
        replayed.update(await store.run(partial(some, ids=dead[start : start + _BATCH])))
    return _counted("replayed", replayed, choice, full=sum(replayed.values()) >= _AT_ONCE)


def _replay(tx: Transaction, ids: Sequence[str], now: datetime) -> list[Delivery]:
    """Make these dead deliveries pending again, and start their endpoints if 410 had stopped them."""
    replayed = [tx.deliveries.transition(id, "replay", now, due_at=now, attempts=0) for id in ids]
    for endpoint in {one.endpoint for one in replayed}:
        tx.stopped_webhooks.remove(endpoint)
    return replayed


def _dead(tx: Transaction, choice: Choice) -> list[str]:
    """Return the ids of dead deliveries, the oldest first."""
    found = tx.deliveries.newest("dead", None, _ALL)
    return [one.id for one in reversed(found) if choice.endpoint in (None, one.endpoint)]


def _known(tx: Transaction, endpoint: str) -> None:
    names = sorted({name for name, _ in tx.deliveries.counts()})
    if endpoint not in names:
        raise ControlError(f"no delivery is for an endpoint {endpoint!r}; there are some for {', '.join(names) or 'none'}")


async def _retire_chosen(store: Store, clock: Clock, choice: Choice) -> dict[str, Any]:
    """Make dead what waits for an endpoint, such as one that left the configuration; `replay` may bring it back."""
    endpoint = choice.endpoint
    if endpoint is None or (choice.since, choice.until, choice.limit) != (None, None, None):
        raise ControlError("retire goes with an endpoint and nothing else; name the one whose deliveries are to be given up")
    name: str = endpoint
    await store.run(lambda tx: _known(tx, name))
    told = {"error": "retired: a person gave up what waited for this endpoint"}

    def some(tx: Transaction) -> int:
        claimed = tx.deliveries.claim(name, datetime.max.replace(tzinfo=UTC), _BATCH)
        for delivery, _ in claimed:
            tx.deliveries.transition(delivery.id, "reject", clock(), attempts=delivery.attempts - 1, **told)
        return len(claimed)

    retired: Counter[str] = Counter()
    while retired[name] < _AT_ONCE and (count := await store.run(some)):
        retired[name] += count
    return _counted("retired", +retired, choice, full=retired[name] >= _AT_ONCE)


def _counted(verb: str, counts: Counter[str], choice: Choice, *, full: bool) -> dict[str, Any]:
    """Tell how many; `more` asks the person's command to come again with this `before`, since one answer must not take long."""
    return {verb: sum(counts.values()), "endpoints": dict(counts), "more": full, "before": choice.before.isoformat()}


def _deliveries(tx: Transaction, id: str) -> list[Delivery]:
    if id.startswith("dlv_"):
        return [tx.deliveries.get(id)]
    return tx.deliveries.newest(event_id=tx.events.get(id).id, limit=1000)
