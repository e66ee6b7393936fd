"""The interface of a store: one durable place for faxes, events and mailbox cursors, changed in transactions.

`Store.run(work)` calls `work(tx)` in one transaction and returns its result once that transaction is durable. `work` runs in
another thread than the event loop, and several share one commit. So it must be short, and must not block. It runs again if
another process was in its way, so it changes nothing but the store. When it raises, only its own changes are undone, and the
caller gets the error.

Every method of a transaction raises StoreUnavailable when the database cannot answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

from mailbridge.model import Cursor, Event, ListingProgress, ReceivedItem
from mailbridge.store.console_interface import ConsoleSessions, DraftRecords
from mailbridge.store.delivery_interface import Deliveries, StoppedWebhooks
from mailbridge.store.fax_interface import Faxes, PollRequests, Sending, Submissions
from mailbridge.store.hand_over import HandOver
from mailbridge.store.hour_counts import HourCounts
from mailbridge.store.list_filter import FaxesFound, FaxGroup, ListFilter, ReceivedFound
from mailbridge.store.node import NodeRow
from mailbridge.store.notices_interface import Alerts, Notices
from mailbridge.store.oauth_tokens import TokenClaim
from mailbridge.store.received_notes import ReceivedNote
from mailbridge.store.retention_interface import Audit, Retention
from mailbridge.store.search import EventFilter, EventPage, FaxFilter, FaxPage

T = TypeVar("T")


class Search(Protocol):
    """Searches for people, a page at a time (see `store.search`): `below` is where the page before ended."""

    def faxes(self, wanted: FaxFilter, below: str | None = None) -> FaxPage:
        """Return the next page of the wanted faxes, newest first."""

    def events(self, wanted: EventFilter, below: str | None = None) -> EventPage:
        """Return the next page of the wanted events, newest first."""

    def usage(self, since: datetime, until: datetime, below: str | None = None) -> tuple[list[dict[str, Any]], str | None]:
        """Return the next page of the faxes that were accepted in this time, for `store.usage.group`, and where it ended."""

    def list_faxes(self, group: FaxGroup, wanted: ListFilter, below: str | None, limit: int) -> FaxesFound:
        """Return up to `limit` wanted faxes of a group, newest first, below the id `below`, and where to go on.

        A search by text looks at a bounded number of faxes, so it may find fewer, or none, though there are more.
        """

    def list_received(self, wanted: ListFilter, below: str | None, limit: int) -> ReceivedFound:
        """Return likewise the events of received faxes and voicemails; `below` is the id of an event."""

    def hour(self, start: datetime) -> HourCounts:
        """Return how many faxes were accepted, received and became final in the hour that begins at `start`."""

    def fax_ids(self, ending: str, limit: int = 3) -> list[str]:
        """Return ids of sent and received faxes that end so, and the one with this token."""

    def event_ids(self, ending: str, limit: int = 3) -> list[str]:
        """Return ids of events that end so."""

    def delivery_ids(self, ending: str, limit: int = 3) -> list[str]:
        """Return ids of deliveries that end so."""

    def received(self, fax_id: str) -> Event | None:
        """Return the event about a received fax or voicemail, or None."""


class Events(Protocol):
    """The outbox: events, each stored in the transaction of the change that it describes."""

    def emit(
        self, type_: str, data: dict[str, Any], now: datetime, fax_id: str | None = None, *, not_to: str | None = None
    ) -> Event:
        """Add an event, with a delivery for each endpoint that it is routed to, except `not_to`.

        Fax transitions emit theirs themselves.
        """

    def get(self, event_id: str) -> Event:
        """Return one event. Raises NotFound."""

    def newest(self, fax_id: str | None = None, limit: int = 100) -> list[Event]:
        """Return events, newest first; with `fax_id`, only those of that fax."""


class Conditions(Protocol):
    """Conditions whose changes are reported, such as that a mailbox is down. They survive restarts."""

    def set(self, name: str, *, on: bool) -> bool:
        """Store whether the condition holds; return whether that is a change. A condition never set does not hold."""

    def hold_sending(self, account: str | None, *, on: bool) -> bool:
        """Store whether a person holds back the uploads of an account, None for all; return whether that is a change."""

    def held_sending(self) -> list[str]:
        """Return the accounts whose uploads are held back; an empty name stands for all."""


class Secrets(Protocol):
    """Secrets that mailbridge makes itself."""

    def get(self, name: str) -> str | None:
        """Return a secret, None if there is none."""

    def add(self, name: str, value: str) -> str:
        """Store a secret unless there is one already; return the one that is stored."""


class OAuthTokens(Protocol):
    """The OAuth 2.0 tokens of mailboxes. `configured` is the digest of the configuration that they belong to."""

    def claim(self, mailbox: str, configured: str, refused: str, by: str, now: datetime) -> TokenClaim:
        """Return the access token unless it is old or `refused`; otherwise let `by` ask the provider, if nobody else does."""

    def keep(self, mailbox: str, configured: str, refresh_token: str | None, access_token: str, renew_at: datetime) -> None:
        """Store what the provider answered, unless another process has stored newer tokens; others may ask from now on."""

    def release(self, mailbox: str, by: str) -> None:
        """Let others ask: the provider gave nothing."""


class Mailboxes(Protocol):
    """The mailboxes that are watched."""

    def cursor(self, mailbox: str, folder: str) -> Cursor | None:
        """Return how far this folder was read, or None at the first start."""

    def save_cursor(self, mailbox: str, folder: str, cursor: Cursor) -> None:
        """Store how far this folder was read."""

    def last_mails(self) -> dict[str, datetime]:
        """Return when the last mail of each mailbox was processed; mailboxes without one among the last 2,000 are absent."""

    def mark_processed(self, mailbox: str, digest: str, now: datetime) -> bool:
        """Record that the mail with this digest was processed; return False if it already had been."""


class Received(Protocol):
    """Received faxes and voicemails, reported by mail or by the lists of `incoming.do` (kinds `incoming` and `voice`)."""

    def progress(self, account: str, kind: str, now: datetime) -> ListingProgress:
        """Return how far this list was compared; the first time, record that comparing starts `now`."""

    def save_progress(self, account: str, kind: str, until: datetime) -> None:
        """Record that the list was compared up to `until`."""

    def known_listing_ids(self, account: str, kind: str, ids: Collection[str]) -> set[str]:
        """Return which of these ids of the list belong to a stored item."""

    def between(self, account: str, kind: str, start: datetime, end: datetime) -> list[ReceivedItem]:
        """Return the items received from `start` to `end`, oldest first."""

    def due(self, account: str, kind: str, now: datetime, limit: int) -> list[ReceivedItem]:
        """Return items that only the list has reported and whose due_at has come, earliest due_at first."""

    def has_line(self, account: str, number: str) -> bool:
        """Return whether the account's list has ever had an item that was received at this number."""

    def get(self, item_id: str) -> ReceivedItem | None:
        """Return one item, or None."""

    def notes(self, fax_ids: Collection[str]) -> dict[str, ReceivedNote]:
        """Return what people wrote about these received faxes, by the id of the fax."""

    def put_note(self, note: ReceivedNote) -> None:
        """Store a note; it replaces the one about the same fax."""

    def put(self, item: ReceivedItem) -> None:
        """Store an item; it replaces the one with the same id."""

    def delete(self, item_id: str) -> None:
        """Delete an item."""


class Transaction(Protocol):
    """One transaction: each kind of record by its name."""

    @property
    def shared(self) -> bool:
        """Whether other nodes use the same database."""

    @property
    def submissions(self) -> Submissions: ...
    @property
    def faxes(self) -> Faxes: ...
    @property
    def search(self) -> Search: ...
    @property
    def events(self) -> Events: ...
    @property
    def deliveries(self) -> Deliveries: ...
    @property
    def notices(self) -> Notices: ...
    @property
    def alerts(self) -> Alerts: ...
    @property
    def stopped_webhooks(self) -> StoppedWebhooks: ...
    @property
    def sending(self) -> Sending: ...
    @property
    def poll_requests(self) -> PollRequests: ...
    @property
    def drafts(self) -> DraftRecords: ...
    @property
    def secrets(self) -> Secrets: ...
    @property
    def oauth_tokens(self) -> OAuthTokens: ...
    @property
    def conditions(self) -> Conditions: ...
    @property
    def mailboxes(self) -> Mailboxes: ...
    @property
    def received(self) -> Received: ...
    @property
    def audit(self) -> Audit: ...
    @property
    def retention(self) -> Retention: ...
    @property
    def console_sessions(self) -> ConsoleSessions: ...

    def nodes(self) -> list[NodeRow]:
        """Return the nodes seen in the last day that share the database, in the order of their starts; none with SQLite."""

    def database_size(self) -> int | None:
        """Return the size of a PostgreSQL database in bytes; None for SQLite's, which is a file of the state_dir."""

    def shift_deadlines(self, by: timedelta, now: datetime) -> int:
        """Shift everything measured in elapsed time after the clock was set forward by `by`; return how many rows changed.

        That is the expiry and next step of every fax that is not final, the next attempt of every delivery, when a received item
        is due, and the receive time of the last two days' mails, by which repeats are recognised. A time that a sender asked for
        stays.
        """

    def pull_in_new_work(self, now: datetime) -> int:
        """Make due now what was due at once, but was stored with a time that the clock had before it was set back."""


class Store(Protocol):
    """A store. The spool beside it is the same for every database."""

    async def run(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in one transaction; return its result once durable. Raises what `work` raises, or StoreUnavailable."""

    @property
    def hand_over(self) -> HandOver:
        """Where dispatchers offer to take new deliveries in the commit that adds them."""

    def subscribe(self, topic: str) -> asyncio.Event:
        """Return the event that is set after a commit that made work: `upload:ACCOUNT`, `poll`, `deliver:ENDPOINT`.

        Each topic has one subscriber, which clears the event before it looks for work.
        """
