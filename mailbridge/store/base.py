"""What a store is: one durable place for faxes, the outbox and mailbox cursors, behind transactions.

`Store.run(work)` calls `work(tx)` in one transaction and returns its result once that transaction is durable. `work` runs
outside the event loop's thread, beside others in one group commit; it must be short, must not block, and may be run only once.
When it raises, its own changes alone are undone and the error reaches the caller.
"""

from __future__ import annotations

from asyncio import Event as Bell
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar

from mailbridge.lifecycle import DeliveryState, DeliveryTrigger, FaxState, FaxTrigger
from mailbridge.model import Cursor, Delivery, Envelope, Event, Fax

T = TypeVar("T")


class Transaction(Protocol):
    """The verbs of one transaction. Every method raises StoreUnavailable when the database cannot answer."""

    # submission
    def repeated(self, key: str, since: datetime) -> list[str]:
        """Return the fax ids of the submission with this key (Message-ID and recipients) at or after `since`, else []."""

    def accept(self, envelope: Envelope, faxes: Sequence[Fax], key: str | None, now: datetime) -> None:
        """Store one mail and its faxes as queued, and raise `fax.queued` for each."""

    # fax
    def fax(self, fax_id: str) -> Fax:
        """Return one fax. Raises NotFound."""

    def faxes(self, state: FaxState | None = None, limit: int = 100) -> list[Fax]:
        """Return the newest faxes first."""

    def count_faxes(self) -> dict[FaxState, int]:
        """Return how many faxes are in each state; states without one are absent."""

    def due_fax(self, state: FaxState, now: datetime, account: str | None = None, limit: int = 1) -> list[Fax]:
        """Return faxes in `state` whose due_at has come, the longest due first; of one account where it is given."""

    def next_due(self, state: FaxState, account: str | None = None) -> datetime | None:
        """Return the earliest due_at in `state`, or None."""

    def expired(self, now: datetime, limit: int = 100) -> list[Fax]:
        """Return queued and submitted faxes whose expires_at has come."""

    def in_flight(self) -> list[Fax]:
        """Return the faxes that a report may speak of: uploading, in_doubt, submitted, or final since a day."""

    def move(self, fax_id: str, trigger: FaxTrigger, now: datetime, **changes: Any) -> Fax:
        """Move a fax by `lifecycle`, set `changes` (fields of Fax), raise the move's events; return the fax afterwards.

        After the end, `changes` are not applied. Raises NotFound, IllegalMove.
        """

    def update(self, fax_id: str, **changes: Any) -> Fax:
        """Change fields other than the state (a poll's count, the next due_at). Raises NotFound."""

    # outbox
    def emit(self, type_: str, data: dict[str, Any], now: datetime, fax_id: str | None = None) -> Event:
        """Put an event that no move raised into the outbox, with a delivery for every endpoint it is routed to."""

    def event(self, event_id: str) -> Event:
        """Return one event. Raises NotFound."""

    def events(self, fax_id: str | None = None, limit: int = 100) -> list[Event]:
        """Return events, newest first; of one fax where it is given."""

    def claim_deliveries(self, endpoint: str, now: datetime, limit: int) -> list[tuple[Delivery, Event]]:
        """Move due pending deliveries of one endpoint to sending, the longest due first, and return them."""

    def next_delivery(self, endpoint: str) -> datetime | None:
        """Return the earliest due_at of the endpoint's pending deliveries, or None."""

    def settle(self, delivery_id: str, trigger: DeliveryTrigger, now: datetime, **changes: Any) -> Delivery:
        """Move a delivery by `lifecycle` and set `changes` (due_at, status, error). Raises NotFound, IllegalMove."""

    def deliveries(self, state: DeliveryState | None = None, event_id: str | None = None, limit: int = 100) -> list[Delivery]:
        """Return deliveries, newest first."""

    def count_deliveries(self) -> dict[tuple[str, DeliveryState], int]:
        """Return how many deliveries each endpoint has in each state; pairs without one are absent."""

    def lose_deliveries(self, now: datetime) -> int:
        """Return what a former run left in `sending` to `pending`; receivers drop repeated webhook-ids."""

    # mailbox
    def cursor(self, mailbox: str, folder: str) -> Cursor | None:
        """Return how far this folder was read, or None at the first start."""

    def advance(self, mailbox: str, folder: str, cursor: Cursor) -> None:
        """Note how far this folder was read."""

    def first_sight(self, mailbox: str, digest: str, now: datetime) -> bool:
        """Note that a mail with this digest was handled; False when it had been before."""


class Store(Protocol):
    """A store. `spool` below it is the same for every database."""

    async def run(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in one transaction; return when it is durable. Raises what `work` raises, or StoreUnavailable."""

    def bell(self, topic: str) -> Bell:
        """Return the event that is set after a commit that made work: `upload:ACCOUNT`, `poll`, `deliver:ENDPOINT`.

        Each topic has one listener, which clears it before it looks for work.
        """
