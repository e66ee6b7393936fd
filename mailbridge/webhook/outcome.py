"""What an attempt to deliver means: one pure function from the receiver's answer to the delivery's transition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

from mailbridge import retry
from mailbridge.lifecycle import DeliveryTrigger
from mailbridge.model import Delivery
from mailbridge.webhook.client import HUNG_UP, Result

# Characters of an error text that are stored.
_ERROR_LIMIT: Final = 300


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt changes its delivery in the store."""

    trigger: DeliveryTrigger
    changes: Mapping[str, Any]  # fields of Delivery
    gone: bool = False  # whether the endpoint wants no more events (410)


def outcome(delivery: Delivery, result: Result | None, now: datetime, jitter: float) -> Outcome:
    """Return what an attempt that ended at `now` means. `result` is None if nothing was sent, which counts as no attempt.

    Standard Webhooks 1.0: only 2xx is a success, 410 Gone ends all deliveries to the endpoint, everything else is tried again on
    the schedule of `retry.WEBHOOK`, or later if Retry-After asks for it. `jitter` is a number in [0, 1) that spreads the wait.
    """
    if result is None:
        return Outcome("defer", {"due_at": now, "attempts": delivery.attempts - 1})
    # An error text may quote the receiver, and hold surrogates that the database does not accept.
    error = result.error and result.error.encode("utf-8", "replace").decode()[:_ERROR_LIMIT]
    answer = {"status": result.status, "error": error}
    if error is None:
        return Outcome("deliver", answer)
    if result.status == 410:
        return Outcome("reject", {**answer, "error": _gone(delivery.endpoint)}, gone=True)
    delay = retry.webhook_delay(delivery.attempts, jitter)
    if delay is None:
        return Outcome("exhaust", answer)
    return Outcome("defer", {**answer, "due_at": now + timedelta(seconds=max(delay, result.retry_after or 0.0))})


def may_be_too_large(status: int | None, error: str | None) -> bool:
    """Whether a try may have failed because of the size of its body: a 413, or a receiver that hung up instead of it."""
    return status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or (status is None and (error or "").startswith(HUNG_UP))


def _gone(endpoint: str) -> str:
    return f"HTTP 410 Gone: the endpoint wants no more events; nothing is sent until mailbridge replay --endpoint {endpoint}"
