"""What a store is: one durable place for faxes, the outbox and mailbox cursors, behind transactions.

`Store.run(work)` calls `work(tx)` in one transaction and returns its result once that transaction is durable. `work` runs
outside the event loop's thread, beside others in one group commit; it must be short, must not block, and may be run only once.
When it raises, its own changes alone are undone and the error reaches the caller.
"""

from __future__ import annotations

from asyncio import Event as WakeUp
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol, TypeVar

from mailbridge.lifecycle import DeliveryState, DeliveryTrigger, FaxState, FaxTrigger
from mailbridge.model import Compared, Cursor, Delivery, Envelope, Event, Fax, Receipt

T = TypeVar("T")


class Erasure(NamedTuple):
    """Spooled files that are to be deleted, by the path of the mail or received document that they belong to."""

    path: str
    files: tuple[str, ...]


class AuditLine(NamedTuple):
    """What was deleted: `document.deleted` and `fax.deleted` with the fax's id as subject, `event.deleted` with the event's.

    `number` is the other side's, where there is one. `record` tells enough to prove what there was: the states' times, digests.
    """

    id: str
    at: datetime
    what: str
    subject: str
    number: str | None
    record: Mapping[str, Any]


class Transaction(Protocol):
    """The verbs of one transaction. Every method raises StoreUnavailable when the database cannot answer."""

    # submission
    def repeated(self, key: str, since: datetime) -> list[str]:
        """Return the fax ids of the submission with this key (Message-ID and recipients) at or after `since`, else []."""

    def accept(self, envelope: Envelope, faxes: Sequence[Fax], key: str | None, now: datetime) -> None:
        """Store one mail and its faxes as queued, and raise `fax.queued` for each."""

    def count_since(self, user: str, since: datetime) -> int:
        """Return how many faxes the mails of this user made that came at or after `since`."""

    def add(self, fax: Fax, now: datetime) -> None:
        """Store one more queued fax of a mail that is stored already, and raise `fax.queued`."""

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

    def by_token(self, tokens: Collection[str]) -> list[Fax]:
        """Return the faxes that have one of these tokens, in whatever state."""

    def by_fax_code(self, codes: Collection[str]) -> list[Fax]:
        """Return the faxes that have one of these FAX_CODEs, in whatever state; upper and lower case are the same."""

    def by_number(self, numbers: Collection[str], since: datetime) -> list[Fax]:
        """Return the faxes to these numbers that are uploading, in_doubt, submitted, or final since `since`."""

    def move(self, fax_id: str, trigger: FaxTrigger, now: datetime, **changes: Any) -> Fax:
        """Move a fax by `lifecycle`, set `changes` (fields of Fax), raise the move's events; return the fax afterwards.

        After the end, `changes` are not applied. Raises NotFound, IllegalMove.
        """

    def update(self, fax_id: str, **changes: Any) -> Fax:
        """Change fields other than the state (a poll's count, the next due_at). Raises NotFound."""

    def shift(self, by: timedelta, now: datetime) -> int:
        """Move what is measured in elapsed time along with a clock that was set by `by`; return how many rows were moved.

        That is the expiry of every fax that is not final and its next step, the next try of every delivery, and the time of the
        mails of the last two days, by which a repeated one is known. The time that a sender asked for stays.
        """

    # outbox
    def emit(self, type_: str, data: dict[str, Any], now: datetime, fax_id: str | None = None) -> Event:
        """Put an event that no move raised into the outbox, with a delivery for every endpoint it is routed to."""

    def mark(self, what: str, *, on: bool) -> bool:
        """Note whether something holds that events tell of, such as that a mailbox is down; return whether that has changed.

        It is kept over restarts, so that nothing is told twice. Of what was never noted nothing holds.
        """

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

    def delivery(self, delivery_id: str) -> Delivery:
        """Return one delivery. Raises NotFound."""

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

    # what comes in
    def compared(self, account: str, kind: str, now: datetime) -> Compared:
        """Return how far the list of this kind (`incoming`, `voice`) was compared; the first time, note that it starts `now`."""

    def note_compared(self, account: str, kind: str, until: datetime) -> None:
        """Note that the list was compared until then."""

    def known_listings(self, account: str, kind: str, ids: Collection[str]) -> set[str]:
        """Return which of these items of the list have a receipt."""

    def receipts(self, account: str, kind: str, start: datetime, end: datetime) -> list[Receipt]:
        """Return what came in between two times, the oldest first."""

    def due_receipts(self, account: str, kind: str, now: datetime, limit: int) -> list[Receipt]:
        """Return what the list alone told of and whose due_at has come, the longest due first."""

    def receipt(self, receipt_id: str) -> Receipt | None:
        """Return one receipt, or None."""

    def put_receipt(self, receipt: Receipt) -> None:
        """Store a receipt, in the place of the one with its id."""

    def drop_receipt(self, receipt_id: str) -> None:
        """Delete a receipt."""

    # retention
    def retire_documents(self, before: datetime, now: datetime, limit: int) -> int:
        """Note for erasure the files of mails of which every fax is final since `before`; return how many faxes lost theirs.

        From then on each `Document.path` of such a fax is empty. It ends soon after `limit` faxes; 0 means that none is left.
        """

    def retire_received(self, before: datetime, now: datetime, limit: int) -> int:
        """Note for erasure the documents of events raised at or before `before` that no delivery needs any more."""

    def erasures(self, limit: int, after: str = "") -> list[Erasure]:
        """Return what is noted for erasure, by path, beyond the path `after`."""

    def erased(self, paths: Collection[str], now: datetime) -> list[AuditLine]:
        """Note that the files of these erasures are gone for good, in the audit, and return its lines."""

    def delete_faxes(self, before: datetime, now: datetime, limit: int) -> list[AuditLine]:
        """Delete faxes that are final since `before`, with events and deliveries; with the last of a mail its envelope.

        A fax whose documents are still there, or with a delivery that is not settled, stays. Returns their audit lines.
        """

    def delete_events(self, before: datetime, now: datetime, limit: int) -> list[AuditLine]:
        """Delete events of no fax of ours raised at or before `before`, unless a document or a delivery is left of them."""

    def delete_handled(self, before: datetime, limit: int) -> int:
        """Forget the digests of mails that were handled at or before `before`; return how many."""

    def delete_receipts(self, before: datetime, limit: int) -> int:
        """Forget what came in and was noted at or before `before`; return how many."""

    def audit(self, subject: str | None = None, number: str | None = None, limit: int = 100) -> list[AuditLine]:
        """Return audit lines, newest first; of one fax or event, or of one number, where it is given."""

    def known_files(self, paths: Collection[str]) -> set[str]:
        """Return which of these paths belong to a stored mail or are the document of an event."""


class Store(Protocol):
    """A store. `spool` below it is the same for every database."""

    async def run(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in one transaction; return when it is durable. Raises what `work` raises, or StoreUnavailable."""

    def wakeup(self, topic: str) -> WakeUp:
        """Return the event that is set after a commit that made work: `upload:ACCOUNT`, `poll`, `deliver:ENDPOINT`.

        Each topic has one listener, which clears it before it looks for work.
        """
