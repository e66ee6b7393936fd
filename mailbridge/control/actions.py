"""What a person may do to a fax or a delivery: each refusal says what state forbids it, and what helps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Literal

from mailbridge.control.commands import fax_told
from mailbridge.errors import ControlError
from mailbridge.lifecycle import FaxState, FaxTrigger
from mailbridge.model import Delivery, Failure, Fax, last_attempt, new_id, new_token
from mailbridge.store.base import Store, Transaction

Clock = Callable[[], datetime]

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
        fax = tx.fax(id)
        if fax.state != "queued":
            raise ControlError(f"{id} cannot be cancelled: {_NOT_CANCELLED[fax.state]}")
        return fax_told(tx.move(id, "cancel", clock(), source="person"))

    return await store.run(work)


async def retry(store: Store, clock: Clock, *, id: str) -> dict[str, Any]:
    """Send a waiting fax now, or one that ended without arriving as a new fax, and return it. Raises NotFound, ControlError."""

    def work(tx: Transaction) -> dict[str, Any]:
        fax, now = tx.fax(id), clock()
        if fax.state == "queued":
            return fax_told(tx.update(id, due_at=now))
        if fax.state in _NOT_RETRIED:
            raise ControlError(f"{id} cannot be sent again: {_NOT_RETRIED[fax.state]}")
        if not fax.documents or not all(document.path for document in fax.documents):
            raise ControlError(f"{id} cannot be sent again: its documents were deleted (retention.documents)")
        again = _again(fax, now)
        tx.add(again, now)
        return fax_told(tx.fax(again.id))

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
        # As long as the first one had.
        expires_at=now + (fax.expires_at - fax.created_at),
        pages=fax.pages,
        email=fax.email,
        tags={**fax.tags, "retry_of": fax.id},
    )


async def resolve(
    store: Store, clock: Clock, *, id: str, as_: Literal["sent", "resend", "failed"], fax_code: str | None = None
) -> dict[str, Any]:
    """End a doubt by a person's word; with a FAX_CODE a sent fax is followed to its end. Raises NotFound, ControlError."""

    def work(tx: Transaction) -> dict[str, Any]:
        fax, now = tx.fax(id), clock()
        if fax.state != "in_doubt":
            raise ControlError(f"{id} is {fax.state}, and only a fax in doubt can be resolved")
        trigger, changes = _word(fax, as_, fax_code, now)
        return fax_told(tx.move(id, trigger, now, source="person", **changes))

    return await store.run(work)


def _word(fax: Fax, as_: str, fax_code: str | None, now: datetime) -> tuple[FaxTrigger, dict[str, Any]]:
    if as_ == "sent" and fax_code:
        return "accept", {"fax_code": fax_code, "due_at": now, "attempts": last_attempt(fax, fax_code=fax_code, error_code=None)}
    if as_ == "sent":
        return "confirm", {"attempts": last_attempt(fax, error_code=None)}
    if as_ == "resend":
        return "resend", {"due_at": now}
    if as_ == "failed":
        return "abandon", {"failure": Failure(code="abandoned", message="a person resolved the doubt: it was not sent")}
    raise ControlError(f"a doubt is resolved as sent, resend or failed, not as {as_!r}")


async def replay(store: Store, clock: Clock, *, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Deliver dead deliveries again, named by their own ids or by their events'. All or none. Raises NotFound, ControlError."""

    def work(tx: Transaction) -> list[dict[str, Any]]:
        now, dead = clock(), []
        for id in dict.fromkeys(ids):
            found = _deliveries(tx, id)
            if not any(delivery.state == "dead" for delivery in found):
                states = ", ".join(f"{delivery.state} to {delivery.endpoint}" for delivery in found) or "for no webhook"
                raise ControlError(f"nothing of {id} is dead: it is {states}")
            dead += [delivery for delivery in found if delivery.state == "dead"]
        replayed = [tx.settle(delivery.id, "replay", now, due_at=now, attempts=0) for delivery in dead]
        return [{"id": one.id, "event_id": one.event_id, "endpoint": one.endpoint, "state": one.state} for one in replayed]

    return await store.run(work)


def _deliveries(tx: Transaction, id: str) -> list[Delivery]:
    if id.startswith("dlv_"):
        return [tx.delivery(id)]
    return tx.deliveries(event_id=tx.event(id).id, limit=1000)
