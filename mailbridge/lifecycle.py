"""All states of a fax and of a delivery, and every legal transition between them.

Literal tables and two pure functions. The table of a fax's transitions also lists the events of each, in order; nothing else in
mailbridge decides what may happen next.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from mailbridge.errors import IllegalTransition

FaxState = Literal[
    "queued",  # waits for its turn, for its time, or to be dialled again
    "uploading",  # the upload is recorded, and under way
    "submitted",  # MyFax has accepted it and given a FAX_CODE; the result is pending
    "in_doubt",  # whether MyFax accepted it is unknown; it is not sent again until the doubt is resolved
    "delivered",  # final
    "failed",  # final
    "cancelled",  # final
]
FaxTrigger = Literal[
    "claim",  # the uploader starts
    "cancel",  # a person cancels it
    "expire",  # its time is over
    "accept",  # MyFax accepted it, or a person says so, with the FAX_CODE
    "defer",  # MyFax provably did not accept it; try again later
    "reject",  # MyFax, or a check before the upload, refused it
    "lose",  # the upload's outcome is unknown
    "resend",  # a person resolves the doubt: send it again
    "confirm",  # it arrived: a status poll, a report or a person says so
    "fail",  # it did not arrive: a status poll or a report says so
    "abandon",  # a person, or `on_doubt`, resolves the doubt: give it up
    "redial",  # busy or no answer: try again
]
DeliveryState = Literal[
    "pending",  # waits until it is due
    "sending",  # claimed by the dispatcher
    "delivered",  # final
    "dead",  # given up, until a person replays it
]
DeliveryTrigger = Literal[
    "claim",  # the dispatcher starts
    "deliver",  # the endpoint answered 2xx
    "defer",  # it failed; try again later
    "reject",  # the endpoint wants no more events (410), or a person discarded it
    "exhaust",  # the last attempt failed
    "lose",  # an earlier run ended while it was sending
    "replay",  # a person sends it again
]

FAX_FINAL: Final[frozenset[FaxState]] = frozenset({"delivered", "failed", "cancelled"})


class Transition(NamedTuple):
    """The state that a trigger leads to, and the types of the events to emit, in order."""

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

# Results that arrive after the final state. The state stays; one that agrees is ignored, one that contradicts emits an event.
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
    """Return the transition by `trigger` from `state`. Raises IllegalTransition."""
    transition = FAX.get((state, trigger)) or FAX_AFTER_FINAL.get((state, trigger))
    if transition is None:
        raise IllegalTransition(state, trigger)
    return transition


def delivery_transition(state: DeliveryState, trigger: DeliveryTrigger) -> DeliveryState:
    """Return the state that `trigger` leads to from `state`. Raises IllegalTransition."""
    try:
        return DELIVERY[state, trigger]
    except KeyError:
        raise IllegalTransition(state, trigger) from None
