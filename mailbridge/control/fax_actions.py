"""What a person may do to a fax: cancel, retry, resolve. A refusal names the state that forbids it, and what to do instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Literal

from mailbridge.control.ids import whole_fax_id
from mailbridge.control.queries import fax_as_json
from mailbridge.errors import ControlError
from mailbridge.lifecycle import FaxState, FaxTrigger
from mailbridge.model import Failure, Fax, last_attempt, new_id, new_token
from mailbridge.store.interface import Store, Transaction
from mailbridge.store.sending_state import paused_condition

Clock = Callable[[], datetime]
# Who does it, from where and by which way, for the audit; None where that is not known.
By = Mapping[str, Any] | None
Check = Callable[[Transaction, Fax], None]

# In the audit: that sending is held, and the subject if it is that of all accounts.
HOLD, ALL_ACCOUNTS = "sending.hold", "*"
# Faxes in one transaction, which must be short.
_BATCH = 100
_NO_LIMIT = 10_000_000

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


def _note(tx: Transaction, by: By, what: str, fax: Fax, now: datetime, **more: object) -> None:
    """Write into the audit who does something with a fax, in the transaction that does it."""
    if by is not None:
        tx.audit.note(what, fax.id, fax.number, {**by, **more}, now)


async def cancel(store: Store, clock: Clock, *, id: str, by: By = None) -> dict[str, Any]:
    """Cancel a queued fax. Raises NotFound, ControlError."""

    def work(tx: Transaction) -> dict[str, Any]:
        fax = tx.faxes.get(whole_fax_id(tx, id))
        if fax.state != "queued":
            raise ControlError(f"{fax.id} cannot be cancelled: {_NOT_CANCELLED[fax.state]}")
        now = clock()
        _note(tx, by, "fax.cancel", fax, now)
        return fax_as_json(tx.faxes.transition(fax.id, "cancel", now, source="person"))

    return await store.run(work)


async def retry(store: Store, clock: Clock, *, id: str, by: By = None, check: Check | None = None) -> dict[str, Any]:
    """Send a queued fax now, or queue a copy of one that failed or was cancelled; return the fax that is sent.

    `check` refuses to send a copy. Raises NotFound, ControlError, and what `check` raises.
    """

    def work(tx: Transaction) -> dict[str, Any]:
        fax, now = tx.faxes.get(whole_fax_id(tx, id)), clock()
        if fax.state == "queued":
            _note(tx, by, "fax.retry", fax, now)
            return {**fax_as_json(tx.faxes.update(fax.id, due_at=now)), "copy_of": None}
        if fax.state in _NOT_RETRIED:
            raise ControlError(f"{fax.id} cannot be sent again: {_NOT_RETRIED[fax.state]}")
        if not fax.documents or not all(document.path for document in fax.documents):
            raise ControlError(f"{fax.id} cannot be sent again: its documents were deleted (retention.documents)")
        if check is not None:
            check(tx, fax)
        copy = _copy(fax, now)
        tx.faxes.add(copy, now)
        _note(tx, by, "fax.retry", fax, now, copy=copy.id)
        return {**fax_as_json(tx.faxes.get(copy.id)), "copy_of": fax.id}

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
        user=fax.user,
        client=fax.client,
        same_key=fax.same_key,
    )


def _new_expiry(fax: Fax, now: datetime) -> datetime:
    """Return when a fax expires that is started again now: it gets as much time as at first."""
    return now + (fax.expires_at - fax.created_at)


async def resolve(
    store: Store, clock: Clock, *, id: str, as_: Literal["sent", "resend", "failed"], fax_code: str | None = None, by: By = None
) -> dict[str, Any]:
    """End a doubt as a person decides; a sent fax with a FAX_CODE is polled to its end. Raises NotFound, ControlError."""

    def work(tx: Transaction) -> dict[str, Any]:
        fax, now = tx.faxes.get(whole_fax_id(tx, id)), clock()
        if fax.state != "in_doubt":
            raise ControlError(f"{fax.id} is {fax.state}, and only a fax in doubt can be resolved")
        resolved = _resolve(tx, fax, as_, fax_code, now)
        _note(tx, by, "fax.resolve", fax, now, resolved_as=as_, fax_code=fax_code)
        return fax_as_json(resolved)

    return await store.run(work)


async def resolve_all(
    store: Store, clock: Clock, *, as_: Literal["sent", "resend", "failed"], restored: bool = False, by: By = None
) -> dict[str, Any]:
    """End every doubt, or with `restored` those that a restored backup has made; return how many. Raises ControlError."""
    doubts = [fax.id for fax in await store.run(lambda tx: tx.faxes.newest("in_doubt", _NO_LIMIT))]
    resolved: list[str] = []

    def work(tx: Transaction, ids: Sequence[str]) -> list[str]:
        # A report may have ended a doubt meanwhile.
        found = [fax for fax in map(tx.faxes.get, ids) if fax.state == "in_doubt" and (fax.restored_at or not restored)]
        for fax in found:
            _note(tx, by, "fax.resolve", fax, clock(), resolved_as=as_)
        return [_resolve(tx, fax, as_, None, clock()).id for fax in found]

    for start in range(0, len(doubts), _BATCH):
        resolved += await store.run(partial(work, ids=doubts[start : start + _BATCH]))
    return {"resolved": len(resolved), "ids": sorted(resolved)}


def _resolve(tx: Transaction, fax: Fax, as_: str, fax_code: str | None, now: datetime) -> Fax:
    trigger, changes = _resolution(fax, as_, fax_code, now)
    return tx.faxes.transition(fax.id, trigger, now, source="person", restored_at=None, **changes)


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


async def hold(store: Store, clock: Clock, *, account: str | None = None, by: By = None) -> dict[str, Any]:
    """Start no more uploads of an account, or of all. Mail is still accepted, and uploads under way finish."""

    def work(tx: Transaction) -> dict[str, Any]:
        _note_sending(tx, by, HOLD, account, clock())
        return _held(tx, account, clock(), on=True)

    return await store.run(work)


async def resume(store: Store, clock: Clock, *, account: str | None = None, by: By = None) -> dict[str, Any]:
    """Send again what `hold` has kept queued, of an account or of all; `account` None ends every hold. Raises ControlError.

    A pause after uploads without an answer ends too.
    """

    def work(tx: Transaction) -> dict[str, Any]:
        _note_sending(tx, by, "sending.resume", account, clock())
        if account is None:
            for name in tx.conditions.held_sending():
                if name:
                    _held(tx, name, clock(), on=False)
        elif "" in tx.conditions.held_sending():
            raise ControlError("sending of all accounts is held; resume without --account ends that")
        now = clock()
        answer = _held(tx, account, now, on=False)
        for name in tx.sending.paused():
            if account in (None, name):
                _end_pause(tx, name, now)
        for fax in tx.faxes.newest("queued", _NO_LIMIT):
            # It gets as much time as at first: it may have waited as long as that.
            if account in (None, fax.account) and fax.due_at <= now:
                tx.faxes.update(fax.id, expires_at=_new_expiry(fax, now))
        return answer

    return await store.run(work)


def _end_pause(tx: Transaction, account: str, now: datetime) -> None:
    tx.sending.answered(account, doubts=True)
    if tx.conditions.set(paused_condition(account), on=False):
        tx.events.emit("account.resumed", {"account": account}, now)


def _note_sending(tx: Transaction, by: By, what: str, account: str | None, now: datetime) -> None:
    if by is not None:
        tx.audit.note(what, account or ALL_ACCOUNTS, None, by, now)


def _held(tx: Transaction, account: str | None, now: datetime, *, on: bool) -> dict[str, Any]:
    changed = tx.conditions.hold_sending(account, on=on)
    held = tx.conditions.held_sending()
    if changed:
        reason = {"reason": "a person holds its sending: mailbridge resume", "until": None} if on else {}
        tx.events.emit("account.paused" if on else "account.resumed", {"account": account, **reason}, now)
    return {"held": "all" if "" in held else held, "queued": tx.faxes.counts().get("queued", 0)}
