"""All states of a fax and of a delivery, and every legal move between them.

Two literal tables and two pure functions. A move's third column lists the events that it raises, in order; nothing else
in mailbridge decides what may happen next.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from mailbridge.errors import IllegalMove

FaxState = Literal["queued", "uploading", "submitted", "in_doubt", "delivered", "failed", "cancelled"]
FaxTrigger = Literal[
    "claim", "cancel", "expire", "accept", "defer", "reject", "lose", "resend", "confirm", "fail", "abandon", "redial"
]
DeliveryState = Literal["pending", "sending", "delivered", "dead"]
DeliveryTrigger = Literal["claim", "deliver", "defer", "reject", "exhaust", "lose", "replay"]

FAX_FINAL: Final[frozenset[FaxState]] = frozenset({"delivered", "failed", "cancelled"})


class Move(NamedTuple):
    """Where a trigger leads, and the types of the events to raise on the way."""

    state: FaxState
    events: tuple[str, ...] = ()


FAX: Final[dict[tuple[FaxState, FaxTrigger], Move]] = {
    ("queued", "claim"): Move("uploading"),
    ("queued", "cancel"): Move("cancelled", ("fax.cancelled",)),
    ("queued", "expire"): Move("failed", ("fax.failed",)),
    ("uploading", "accept"): Move("submitted", ("fax.submitted",)),
    ("uploading", "defer"): Move("queued"),
    ("uploading", "reject"): Move("failed", ("fax.failed",)),
    ("uploading", "lose"): Move("in_doubt", ("fax.in_doubt",)),
    ("uploading", "confirm"): Move("delivered", ("fax.delivered",)),
    ("uploading", "fail"): Move("failed", ("fax.failed",)),
    ("in_doubt", "accept"): Move("submitted", ("fax.resolved",)),
    ("in_doubt", "resend"): Move("queued", ("fax.resolved",)),
    ("in_doubt", "confirm"): Move("delivered", ("fax.resolved", "fax.delivered")),
    ("in_doubt", "fail"): Move("failed", ("fax.resolved", "fax.failed")),
    ("in_doubt", "abandon"): Move("failed", ("fax.resolved", "fax.failed")),
    ("submitted", "confirm"): Move("delivered", ("fax.delivered",)),
    ("submitted", "fail"): Move("failed", ("fax.failed",)),
    ("submitted", "redial"): Move("queued"),
    ("submitted", "expire"): Move("failed", ("fax.failed",)),
}

# What may still arrive when all is over: word that agrees is ignored, word that contradicts is told and moves nothing.
AFTER_THE_END: Final[dict[tuple[FaxState, FaxTrigger], Move]] = {
    ("delivered", "confirm"): Move("delivered"),
    ("delivered", "accept"): Move("delivered"),
    ("delivered", "lose"): Move("delivered"),
    ("delivered", "defer"): Move("delivered", ("fax.conflict",)),
    ("delivered", "reject"): Move("delivered", ("fax.conflict",)),
    ("delivered", "fail"): Move("delivered", ("fax.conflict",)),
    ("failed", "fail"): Move("failed"),
    ("failed", "accept"): Move("failed"),
    ("failed", "lose"): Move("failed"),
    ("failed", "defer"): Move("failed"),
    ("failed", "reject"): Move("failed"),
    ("failed", "confirm"): Move("failed", ("fax.conflict",)),
    ("cancelled", "fail"): Move("cancelled", ("fax.conflict",)),
    ("cancelled", "confirm"): Move("cancelled", ("fax.conflict",)),
}

DELIVERY: Final[dict[tuple[DeliveryState, DeliveryTrigger], DeliveryState]] = {
    ("pending", "claim"): "sending",
    ("sending", "deliver"): "delivered",
    ("sending", "defer"): "pending",
    ("sending", "reject"): "dead",
    ("sending", "exhaust"): "dead",
    ("sending", "lose"): "pending",
    ("dead", "replay"): "pending",
}


def move_fax(state: FaxState, trigger: FaxTrigger) -> Move:
    """Return where `trigger` leads from `state`. Raises IllegalMove where no table has the pair."""
    move = FAX.get((state, trigger)) or AFTER_THE_END.get((state, trigger))
    if move is None:
        raise IllegalMove(state, trigger)
    return move


def move_delivery(state: DeliveryState, trigger: DeliveryTrigger) -> DeliveryState:
    """Return where `trigger` leads from `state`. Raises IllegalMove where the table has no such pair."""
    try:
        return DELIVERY[state, trigger]
    except KeyError:
        raise IllegalMove(state, trigger) from None
