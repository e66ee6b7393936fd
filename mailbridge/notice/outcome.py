"""What an attempt to hand over a notice means for its delivery."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from mailbridge import retry
from mailbridge.lifecycle import DeliveryTrigger
from mailbridge.notice.relay import Result
from mailbridge.store.notice_records import DueNotice


@dataclass(frozen=True, slots=True)
class Finished:
    """A claimed notice and what became of it. Without a trigger nobody needs it any more, and it is removed."""

    due: DueNotice
    trigger: DeliveryTrigger | None
    at: datetime
    changes: Mapping[str, Any]

    @property
    def is_dead(self) -> bool:
        """Whether it is given up."""
        return self.trigger in ("reject", "exhaust")


def finished(due: DueNotice, result: Result | None, now: datetime, jitter: float) -> Finished:
    """Return what a result means. 4xx and connection errors are tried again on the schedule of `retry.NOTICE`, 5xx are final.

    Without a result the notice was not needed. `jitter` is a number in [0, 1) that spreads the wait.
    """
    if result is None:
        return Finished(due, None, now, {})
    answer = {"status": result.status, "error": result.error}
    if result.kind == "sent":
        return Finished(due, "deliver", now, answer)
    if result.kind == "refused":
        return Finished(due, "reject", now, answer)
    delay = retry.notice_delay(due.delivery.attempts, jitter)
    if delay is None:
        return Finished(due, "exhaust", now, answer)
    return Finished(due, "defer", now, {**answer, "due_at": now + timedelta(seconds=delay)})


def untried(due: DueNotice, now: datetime) -> Finished:
    """Return what a claimed notice means that was not tried: it is due again, and its attempt does not count."""
    return Finished(due, "defer", now, {"due_at": now, "attempts": due.delivery.attempts - 1})


def failed_event(one: Finished) -> dict[str, Any]:
    """Return the data of the event `notice.failed`."""
    delivery, envelope = one.due.delivery, one.due.envelope
    notice = delivery.notice or {}
    fax_ids = list(dict.fromkeys(block["fax_id"] for block in notice.get("blocks", ())))
    return {
        "notice_id": delivery.id,
        "kind": notice.get("kind"),
        "form": notice.get("form"),
        "to": delivery.address,
        "fax_ids": fax_ids or [one.due.event.fax_id] * (one.due.event.fax_id is not None),
        "account": envelope.account if envelope else one.due.event.data.get("account"),
        "user": envelope.user if envelope else None,
        "attempts": delivery.attempts,
        "status": one.changes["status"],
        "error": one.changes["error"],
    }
