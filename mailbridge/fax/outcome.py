"""What becomes of a fax by the outcome of its upload, by `fax.on_doubt`, or by its expiry: the one place that decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from mailbridge.errors import InDoubt, MailbridgeError, NeedsPerson, NotFound, Rejected
from mailbridge.fax.verified_document import Damaged
from mailbridge.lifecycle import FaxTrigger
from mailbridge.model import Failure, Fax, last_attempt
from mailbridge.myfax import StatusAnswer, UploadAnswer
from mailbridge.store.interface import Transaction

OnDoubt = Literal["hold", "fail", "resend"]
EXPIRED = Failure(code="expired", message="it was not final within fax.give_up")
_DOUBTED = "it is not known whether MyFax took this fax; by fax.on_doubt it counts as failed"
_TOLD = ("fax_code", "price", "credit_left", "pages")
_ATTEMPT_ENDED = {"lose": "in_doubt", "defer": "not_taken"}


@dataclass(frozen=True, slots=True)
class UploadOutcome:
    """What an upload came to: the trigger, the fields that change with it, and why. `alert` is for the administrator."""

    trigger: FaxTrigger
    changes: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    alert: bool = False

    @property
    def answered(self) -> bool:
        """Whether MyFax itself decided: it took the fax, or said no."""
        failure = self.changes.get("failure")
        return self.trigger == "accept" or (failure is not None and failure.code != "abandoned")


def amounts(answer: UploadAnswer | StatusAnswer) -> dict[str, str]:
    """Return what an answer says of money, as the store and the events hold it: the text of the exact amount."""
    told = {"price": answer.price, "credit_left": answer.credit_left}
    return {name: str(value) for name, value in told.items() if value is not None}


def accepted(answer: UploadAnswer, first_poll: datetime) -> UploadOutcome:
    """Return the verdict of an answer with a FAX_CODE."""
    changes = {"fax_code": answer.fax_code, "due_at": first_poll, "source": "upload", **amounts(answer)}
    return UploadOutcome("accept", changes | ({"pages": answer.pages} if answer.pages else {}))


def failed(error: Exception, whole: bool, again: datetime) -> UploadOutcome:
    """Return the verdict of an error; `whole` tells whether the last bytes may have left, `again` is the next try's time."""
    reason = str(error) if isinstance(error, MailbridgeError) else f"an error in mailbridge itself ({type(error).__name__})"
    if isinstance(error, Rejected):
        return _reject(Failure(code="rejected", message=error.text or reason, provider_code=error.code), source="upload")
    if isinstance(error, NotFound):
        return _reject(Failure(code="abandoned", message="its document is no longer in the spool"))
    if isinstance(error, Damaged):
        return _reject(Failure(code="abandoned", message=reason), alert=True)
    if isinstance(error, NeedsPerson):
        return _reject(Failure(code="unreachable", message=reason), alert=True)
    if isinstance(error, InDoubt) or (whole and not isinstance(error, MailbridgeError)):
        return UploadOutcome("lose", {}, reason)
    return UploadOutcome("defer", {"due_at": again}, reason)


def _reject(failure: Failure, alert: bool = False, **changes: Any) -> UploadOutcome:
    return UploadOutcome("reject", {"failure": failure, **changes}, failure.message, alert)


def settle(tx: Transaction, fax_id: str, verdict: UploadOutcome, on_doubt: OnDoubt, now: datetime) -> Fax:
    """Move a fax by the verdict of its upload. Where a report was quicker it stays final, and FAX_CODE and price are noted."""
    failure = verdict.changes.get("failure")
    ended = last_attempt(
        tx.faxes.get(fax_id),
        ended_at=now,
        fax_code=verdict.changes.get("fax_code"),
        error_code=failure.code if failure else _ATTEMPT_ENDED.get(verdict.trigger),
    )
    after = tx.faxes.transition(fax_id, verdict.trigger, now, attempts=ended, **verdict.changes)
    if verdict.trigger == "accept" and after.fax_code is None:
        told = {name: verdict.changes[name] for name in _TOLD if name in verdict.changes}
        return tx.faxes.update(fax_id, attempts=last_attempt(after, fax_code=told["fax_code"]), **told)
    return doubted(tx, after, on_doubt, now) if after.state == "in_doubt" else after


def doubted(tx: Transaction, fax: Fax, on_doubt: OnDoubt, now: datetime) -> Fax:
    """Do what `fax.on_doubt` says with a fax that has just become doubtful."""
    if on_doubt == "fail":
        return tx.faxes.transition(fax.id, "abandon", now, failure=Failure(code="abandoned", message=_DOUBTED))
    # It is documented as able to charge twice, and not as able to charge without end: a second doubt is held.
    if on_doubt == "resend" and sum(attempt.error_code == "in_doubt" for attempt in fax.attempts) == 1:
        return tx.faxes.transition(fax.id, "resend", now, due_at=now)
    return fax


def expire(tx: Transaction, fax: Fax, now: datetime, **changes: Any) -> Fax:
    """Fail a fax whose expires_at has come."""
    return tx.faxes.transition(fax.id, "expire", now, failure=EXPIRED, source="expiry", **changes)
