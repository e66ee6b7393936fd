"""All states of a fax and of a delivery, and every legal move between them.

Two literal tables and two pure functions. A move's third column lists the events that it raises, in order; nothing else
in mailbridge decides what may happen next.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from mailbridge.errors import IllegalTransition

FaxState = Literal["queued", "uploading", "submitted", "in_doubt", "delivered", "failed", "cancelled"]
FaxTrigger = Literal[
    "claim", "cancel", "expire", "accept", "defer", "reject", "lose", "resend", "confirm", "fail", "abandon", "redial"
]
DeliveryState = Literal["pending", "sending", "delivered", "dead"]
DeliveryTrigger = Literal["claim", "deliver", "defer", "reject", "exhaust", "lose", "replay"]

FAX_FINAL: Final[frozenset[FaxState]] = frozenset({"delivered", "failed", "cancelled"})


class Transition(NamedTuple):
    """Where a trigger leads, and the types of the events to raise on the way."""

    state: FaxState
    events: tuple[str, ...] = ()


FAX: Final[dict[tuple[FaxState, FaxTrigger], Transition]] = {
    ("queued", "claim"): Transition("uploading"),
    ("queued", "cancel"): Transition("cancelled", ("fax.cancelled",)),
    ("queued", "expire"): Transition("failed", ("fax.failed",)),
    ("uploading", "accept"): Transition("submitted", ("fax.submitted",)),
    ("uploading", "defer"): Transition("queued"),
    ("uploading", "reject"): Transition("failed", ("fax.failed",)),
    ("uploading", "lose"): Transition("in_doubt", ("fax.in_doubt",)),
    ("uploading", "confirm"): Transition("delivered", ("fax.delivered",)),
    ("uploading", "fail"): Transition("failed", ("fax.failed",)),
    ("in_doubt", "accept"): Transition("submitted", ("fax.resolved",)),
    ("in_doubt", "resend"): Transition("queued", ("fax.resolved",)),
    ("in_doubt", "confirm"): Transition("delivered", ("fax.resolved", "fax.delivered")),
    ("in_doubt", "fail"): Transition("failed", ("fax.resolved", "fax.failed")),
    ("in_doubt", "abandon"): Transition("failed", ("fax.resolved", "fax.failed")),
    ("submitted", "confirm"): Transition("delivered", ("fax.delivered",)),
    ("submitted", "fail"): Transition("failed", ("fax.failed",)),
    ("submitted", "redial"): Transition("queued"),
    ("submitted", "expire"): Transition("failed", ("fax.failed",)),
}

# What may still arrive when all is over: word that agrees is ignored, word that contradicts is told and moves nothing.
FAX_AFTER_FINAL: Final[dict[tuple[FaxState, FaxTrigger], Transition]] = {
    ("delivered", "confirm"): Transition("delivered"),
    ("delivered", "accept"): Transition("delivered"),
    ("delivered", "lose"): Transition("delivered"),
    ("delivered", "defer"): Transition("delivered", ("fax.conflict",)),
    ("delivered", "reject"): Transition("delivered", ("fax.conflict",)),
    ("delivered", "fail"): Transition("delivered", ("fax.conflict",)),
    ("failed", "fail"): Transition("failed"),
    ("failed", "accept"): Transition("failed"),
    ("failed", "lose"): Transition("failed"),
    ("failed", "defer"): Transition("failed"),
    ("failed", "reject"): Transition("failed"),
    ("failed", "confirm"): Transition("failed", ("fax.conflict",)),
    ("cancelled", "fail"): Transition("cancelled", ("fax.conflict",)),
    ("cancelled", "confirm"): Transition("cancelled", ("fax.conflict",)),
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


def fax_transition(state: FaxState, trigger: FaxTrigger) -> Transition:
    """Return where `trigger` leads from `state`. Raises IllegalTransition where no table has the pair."""
    transition = FAX.get((state, trigger)) or FAX_AFTER_FINAL.get((state, trigger))
    if transition is None:
        raise IllegalTransition(state, trigger)
    return transition


def delivery_transition(state: DeliveryState, trigger: DeliveryTrigger) -> DeliveryState:
    """Return where `trigger` leads from `state`. Raises IllegalTransition where the table has no such pair."""
    try:
        return DELIVERY[state, trigger]
    except KeyError:
        raise IllegalTransition(state, trigger) from None
