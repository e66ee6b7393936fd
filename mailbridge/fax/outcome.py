"""What an upload's outcome, `fax.on_doubt` and expiry do to a fax. Every outcome of an upload is decided here.

docs/lifecycle.md has the states and triggers. A fax is `defer`red, and so sent again, only after an error that proves that MyFax
did not take it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Literal

from mailbridge.errors import InDoubt, MailbridgeError, NeedsPerson, NotFound, Rejected
from mailbridge.fax.verified_document import Damaged
from mailbridge.lifecycle import FAX_FINAL, FaxTrigger
from mailbridge.model import Failure, Fax, last_attempt
from mailbridge.myfax import StatusAnswer, UploadAnswer
from mailbridge.store.interface import Transaction

OnDoubt = Literal["hold", "fail", "resend"]
Alert = Literal["upload_refused", "document_damaged"]
EXPIRED = Failure(code="expired", message="it was not final within fax.give_up")
_FAILED_ON_DOUBT = Failure(
    code="abandoned", message="it is not known whether MyFax took this fax; by fax.on_doubt it counts as failed"
)
_ANSWER_FIELDS = ("fax_code", "price", "currency", "credit_left", "pages")
# What an answer means for a fax that is in doubt since another node gave its upload up.
_ENDS_DOUBT: Final[Mapping[FaxTrigger, FaxTrigger]] = {"accept": "accept", "reject": "fail"}
_ATTEMPT_ERROR_CODES = {"lose": "in_doubt", "defer": "not_taken"}


@dataclass(frozen=True, slots=True)
class UploadOutcome:
    """The trigger that an upload's end pulls, the fields of the fax that change with it, and the reason for the log.

    `alert` names the log event for an outcome that the administrator must act on.
    """

    trigger: FaxTrigger
    changes: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    alert: Alert | None = None

    @property
    def answered(self) -> bool:
        """Whether MyFax itself decided: it took the fax, or refused it."""
        failure = self.changes.get("failure")
        return self.trigger == "accept" or (failure is not None and failure.code != "abandoned")


def amounts(answer: UploadAnswer | StatusAnswer) -> dict[str, str]:
    """Return the price and the credit of an answer as the store and the events hold them: the exact amounts as text."""
    printed = {"price": answer.price, "currency": answer.currency, "credit_left": answer.credit_left}
    return {name: str(value) for name, value in printed.items() if value is not None}


def accepted(answer: UploadAnswer, first_poll: datetime) -> UploadOutcome:
    """Return the outcome of an answer with a FAX_CODE."""
    changes = {"fax_code": answer.fax_code, "due_at": first_poll, "source": "upload", **amounts(answer)}
    return UploadOutcome("accept", changes | ({"pages": answer.pages} if answer.pages else {}))


def failed(error: Exception, whole: bool, retry_at: datetime) -> UploadOutcome:
    """Return the outcome of an error. `whole` is whether the last bytes of the request may have left."""
    reason = str(error) if isinstance(error, MailbridgeError) else f"an error in mailbridge itself ({type(error).__name__})"
    if isinstance(error, Rejected):
        return _reject(Failure(code="rejected", message=error.text or reason, provider_code=error.code), source="upload")
    if isinstance(error, NotFound):
        return _reject(Failure(code="abandoned", message="its document is no longer in the spool"))
    if isinstance(error, Damaged):
        return _reject(Failure(code="abandoned", message=reason), "document_damaged")
    if isinstance(error, NeedsPerson):
        # 4xx is an answer of MyFax; a redirect is that of something before it.
        refused = error.status is not None and error.status >= 400
        return _reject(Failure(code="rejected" if refused else "unreachable", message=reason), "upload_refused")
    if isinstance(error, InDoubt) or (whole and not isinstance(error, MailbridgeError)):
        return UploadOutcome("lose", {}, reason)
    return UploadOutcome("defer", {"due_at": retry_at}, reason)


def _reject(failure: Failure, alert: Alert | None = None, **changes: Any) -> UploadOutcome:
    return UploadOutcome("reject", {"failure": failure, **changes}, failure.message, alert)


def apply_outcome(tx: Transaction, fax_id: str, n: int, outcome: UploadOutcome, on_doubt: OnDoubt, now: datetime) -> Fax:
    """Move a fax by the outcome of its nth upload; return the fax afterwards.

    If a report has already ended the fax, it stays as it is, and only the answer's FAX_CODE and amounts are noted. If this upload
    has been given up meanwhile, its outcome can still end the doubt about it, and otherwise goes into the audit.
    """
    before = tx.faxes.get(fax_id)
    if len(before.attempts) != n or before.state in ("queued", "submitted"):
        _note_late(tx, before, n, outcome, now)
        return before
    if before.state in FAX_FINAL and outcome.trigger == "defer":
        return before  # a report has ended it, and this upload did not reach MyFax
    if before.state == "in_doubt":
        if outcome.trigger not in _ENDS_DOUBT:
            return before
        outcome = replace(outcome, trigger=_ENDS_DOUBT[outcome.trigger])
    failure = outcome.changes.get("failure")
    attempts = last_attempt(
        before,
        ended_at=now,
        fax_code=outcome.changes.get("fax_code"),
        error_code=failure.code if failure else _ATTEMPT_ERROR_CODES.get(outcome.trigger),
    )
    after = tx.faxes.transition(fax_id, outcome.trigger, now, attempts=attempts, **outcome.changes)
    if outcome.trigger == "accept" and after.fax_code is None:
        answer = {name: outcome.changes[name] for name in _ANSWER_FIELDS if name in outcome.changes}
        return tx.faxes.update(fax_id, attempts=last_attempt(after, fax_code=answer["fax_code"]), **answer)
    return apply_on_doubt(tx, after, on_doubt, now) if after.state == "in_doubt" else after


def _note_late(tx: Transaction, fax: Fax, n: int, outcome: UploadOutcome, now: datetime) -> None:
    """Note what MyFax answered to an upload that does not count any more. What did not reach MyFax is of no interest."""
    if outcome.trigger in _ENDS_DOUBT:
        record = {"attempt": n, "answer": outcome.trigger, "fax_code": outcome.changes.get("fax_code"), "reason": outcome.reason}
        tx.audit.note("fax.late_answer", fax.id, fax.number, record, now)


def apply_on_doubt(tx: Transaction, fax: Fax, on_doubt: OnDoubt, now: datetime) -> Fax:
    """Do what `fax.on_doubt` says with a fax that has just become in doubt; return the fax afterwards."""
    if on_doubt == "fail":
        return tx.faxes.transition(fax.id, "abandon", now, failure=_FAILED_ON_DOUBT)
    # The key is documented as able to charge twice, not to charge without limit: after a second doubt the fax is held.
    if on_doubt == "resend" and sum(attempt.error_code == "in_doubt" for attempt in fax.attempts) == 1:
        return tx.faxes.transition(fax.id, "resend", now, due_at=now)
    return fax


def expire(tx: Transaction, fax: Fax, now: datetime, **changes: Any) -> Fax:
    """Fail a fax whose `expires_at` has come; return the fax afterwards."""
    return tx.faxes.transition(fax.id, "expire", now, failure=EXPIRED, source="expiry", **changes)
