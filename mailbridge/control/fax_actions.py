"""What a person may do to a fax: cancel, retry, resolve. A refusal names the state that forbids it, and what to do instead."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

from mailbridge.control.queries import fax_as_json
from mailbridge.errors import ControlError
from mailbridge.lifecycle import FaxState, FaxTrigger
from mailbridge.model import Failure, Fax, last_attempt, new_id, new_token
from mailbridge.store.interface import Store, Transaction

Clock = Callable[[], datetime]

_NOT_CANCELLED: dict[FaxState, str] = {
    "uploading": "it is being uploaded at this moment, and MyFax may have it",
    "submitted": "MyFax has it, and offers no way to cancel it",
    "in_doubt": "MyFax may have it; end the doubt with mailbridge resolve",
    "delivered": "it is already delivered",
    "failed": "it has already failed",
    "cancelled": "it is already cancelled",
}
_NOT_RETRIED: dict[FaxState, str] = {
    "uploading": "it is being uploaded at this moment",
    "submitted": "MyFax has it and is still trying",
    "in_doubt": "MyFax may have it, and the recipient could get it twice; end the doubt with mailbridge resolve",
    "delivered": "it is already delivered; to send it once more, use mailbridge send",
}


async def cancel(store: Store, clock: Clock, *, id: str) -> dict[str, Any]:
    """Cancel a queued fax. Raises NotFound, ControlError."""

    def work(tx: Transaction) -> dict[str, Any]:
        fax = tx.faxes.get(id)
        if fax.state != "queued":
            raise ControlError(f"{id} cannot be cancelled: {_NOT_CANCELLED[fax.state]}")
        return fax_as_json(tx.faxes.transition(id, "cancel", clock(), source="person"))

    return await store.run(work)


async def retry(store: Store, clock: Clock, *, id: str) -> dict[str, Any]:
    """Send a queued fax now, or queue a copy of one that failed or was cancelled; return the fax that is sent.

    Raises NotFound, ControlError.
    """

    def work(tx: Transaction) -> dict[str, Any]:
        fax, now = tx.faxes.get(id), clock()
        if fax.state == "queued":
            return fax_as_json(tx.faxes.update(id, due_at=now))
        if fax.state in _NOT_RETRIED:
            raise ControlError(f"{id} cannot be sent again: {_NOT_RETRIED[fax.state]}")
        if not fax.documents or not all(document.path for document in fax.documents):
            raise ControlError(f"{id} cannot be sent again: its documents were deleted (retention.documents)")
        copy = _copy(fax, now)
        tx.faxes.add(copy, now)
        return fax_as_json(tx.faxes.get(copy.id))

    return await store.run(work)


def _copy(fax: Fax, now: datetime) -> Fax:
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
        expires_at=_new_expiry(fax, now),
        pages=fax.pages,
        email=fax.email,
        tags={**fax.tags, "retry_of": fax.id},
    )


def _new_expiry(fax: Fax, now: datetime) -> datetime:
    """Return when a fax expires that is started again now: it gets as much time as at first."""
    return now + (fax.expires_at - fax.created_at)


async def resolve(
    store: Store, clock: Clock, *, id: str, as_: Literal["sent", "resend", "failed"], fax_code: str | None = None
) -> dict[str, Any]:
    """End a doubt as a person decides; a sent fax with a FAX_CODE is polled to its end. Raises NotFound, ControlError."""

    def work(tx: Transaction) -> dict[str, Any]:
        fax, now = tx.faxes.get(id), clock()
        if fax.state != "in_doubt":
            raise ControlError(f"{id} is {fax.state}, and only a fax in doubt can be resolved")
        trigger, changes = _resolution(fax, as_, fax_code, now)
        return fax_as_json(tx.faxes.transition(id, trigger, now, source="person", **changes))

    return await store.run(work)


def _resolution(fax: Fax, as_: str, fax_code: str | None, now: datetime) -> tuple[FaxTrigger, dict[str, Any]]:
    # The doubt may have lasted longer than fax.give_up: without a new expiry the fax would fail at once.
    restarted = {"due_at": now, "expires_at": _new_expiry(fax, now)}
    if as_ == "sent" and fax_code:
        return "accept", {**restarted, "fax_code": fax_code, "attempts": last_attempt(fax, fax_code=fax_code, error_code=None)}
    if as_ == "sent":
        return "confirm", {"attempts": last_attempt(fax, error_code=None)}
    if as_ == "resend":
        return "resend", restarted
    if as_ == "failed":
        return "abandon", {"failure": Failure(code="abandoned", message="a person resolved the doubt: it was not sent")}
    raise ControlError(f"a doubt is resolved as sent, resend or failed, not as {as_!r}")
