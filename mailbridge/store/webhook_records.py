"""What is stored about webhooks beside their deliveries: each try, and those that are stopped."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryTry:
    """One request of a delivery, and what came of it."""

    delivery_id: str
    at: datetime  # when it began
    milliseconds: int  # until its outcome was known
    status: int | None = None  # HTTP status; None without an answer
    error: str | None = None  # what went wrong; None for 2xx
    answer: str | None = None  # the beginning of the answer's body; None without an answer


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppedWebhook:
    """A webhook that answered 410 Gone, and gets no more events until its deliveries are replayed."""

    endpoint: str  # name of the webhook
    stopped_at: datetime  # when the 410 arrived
    reason: str  # for people
