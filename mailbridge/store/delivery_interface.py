"""The part of a store's interface for deliveries, and for webhooks that are stopped (see `store.interface`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from mailbridge.errors import IllegalTransition, NotFound
from mailbridge.lifecycle import DeliveryState, DeliveryTrigger
from mailbridge.model import Delivery, Event
from mailbridge.store.webhook_records import DeliveryTry, StoppedWebhook


@dataclass(frozen=True, slots=True)
class DeliveryChange:
    """A change of one delivery's state."""

    delivery_id: str
    trigger: DeliveryTrigger
    at: datetime
    changes: Mapping[str, Any]  # fields of Delivery: due_at, attempts, status, error


class Deliveries(Protocol):
    """Deliveries of events to endpoints."""

    def get(self, delivery_id: str) -> Delivery:
        """Return one delivery. Raises NotFound."""

    def newest(
        self,
        state: DeliveryState | None = None,
        event_id: str | None = None,
        limit: int = 100,
        *,
        endpoint: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        below: str | None = None,
    ) -> list[Delivery]:
        """Return deliveries, newest first; with arguments, only those. `since` and `until` are times of their events.

        `below` is the id below which the page begins.
        """

    def oldest_waiting(self, endpoint: str) -> Delivery | None:
        """Return the oldest delivery to this endpoint that is pending or sending, or None."""

    def counts(self) -> dict[tuple[str, DeliveryState], int]:
        """Return how many deliveries each endpoint has in each state; pairs without one are absent."""

    def claim(self, endpoint: str, now: datetime, limit: int, under_way: Collection[str] = ()) -> list[tuple[Delivery, Event]]:
        """Change due deliveries of one endpoint from pending to sending, earliest due_at first, and return them.

        `under_way` are the ids of those that the caller has claimed before, and not settled yet. For a while after a commit that
        was not answered, all others that this node has claimed are pending again first.
        """

    def next_due(self, endpoint: str) -> datetime | None:
        """Return the earliest due_at of the endpoint's pending deliveries, or None."""

    def transition(self, delivery_id: str, trigger: DeliveryTrigger, now: datetime, **changes: Any) -> Delivery:
        """Change a delivery's state by `lifecycle`, set `changes` (due_at, attempts, status, error); return the new delivery.

        Raises NotFound, IllegalTransition.
        """

    def transition_all(self, changes: Sequence[DeliveryChange]) -> dict[str, NotFound | IllegalTransition]:
        """Change many deliveries as `transition` does, in fewer statements; return, by id, why some could not be changed."""

    def add_tries(self, tries: Sequence[DeliveryTry]) -> None:
        """Record requests of deliveries."""

    def tries(self, delivery_ids: Collection[str]) -> list[DeliveryTry]:
        """Return the recorded requests of these deliveries, oldest first."""

    def requeue_interrupted(self, endpoints: Collection[str] | None = None) -> int:
        """Change deliveries that an earlier run left in `sending` to `pending`, and return how many.

        With `endpoints`, those that this node has begun to send to them, otherwise those of nodes that have ended; with SQLite
        there is one node, which has ended. They may be sent twice: receivers ignore a repeated webhook-id.
        """


class StoppedWebhooks(Protocol):
    """Webhooks that answered 410 Gone: nothing is sent to them, over restarts too, until they are removed from here."""

    def get(self, endpoint: str) -> StoppedWebhook | None:
        """Return why and since when this webhook is stopped, or None if it is not."""

    def names(self) -> list[str]:
        """Return the names of all stopped webhooks, sorted."""

    def add(self, endpoint: str, reason: str, now: datetime) -> bool:
        """Stop a webhook; return whether it was not stopped yet. One that was keeps its time and reason."""

    def remove(self, endpoint: str) -> bool:
        """Start a webhook again; return whether it was stopped."""
