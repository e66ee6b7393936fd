"""The transactions of the listing: records what is new on the list of `incoming.do`, and emits what no mail reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from mailbridge.model import ListingProgress, ReceivedItem, new_id
from mailbridge.myfax import IncomingItem
from mailbridge.report.listing_match import MAX_GAP, canonical_number, same_faxes, with_same_document
from mailbridge.report.match import SKEW
from mailbridge.report.received_event import received_data
from mailbridge.store.interface import Transaction

# The two lists of `incoming.do`: faxes and voicemails.
Kind = Literal["incoming", "voice"]

# A listed fax waits so many rounds for its mail.
GRACE_ROUNDS: Final = 2
# Each round looks back a day before the last one, since the list may be late, and never longer than items are kept for.
OVERLAP: Final = timedelta(days=1)
LONGEST: Final = timedelta(days=30)
# Items in one query.
BATCH: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingOptions:
    """Which list is compared, and how. Raises ValueError if there is no time between the rounds."""

    account: str
    kind: Kind
    # Seconds between the rounds.
    every: float
    # The time zone of file names, and the region of telephone numbers without a country code.
    zone: ZoneInfo
    region: str = "IL"

    def __post_init__(self) -> None:
        if self.every <= 0:
            raise ValueError("every must be above zero")

    @property
    def grace(self) -> timedelta:
        """How long a listed item waits for its mail. No mail reports a voicemail."""
        return timedelta(seconds=GRACE_ROUNDS * self.every) if self.kind == "incoming" else timedelta()


class ListingRecorder:
    """Records one account's list of one kind. Every method runs in a transaction."""

    def __init__(self, options: ListingOptions) -> None:
        self._options = options

    def record_new(self, tx: Transaction, items: Sequence[IncomingItem], now: datetime) -> None:
        """Record what is new on the list: as the fax of a mail that came before, as old, or as waiting for its mail."""
        account, kind = self._options.account, self._options.kind
        progress = tx.received.progress(account, kind, now)
        tx.received.save_progress(account, kind, now)
        known: set[str] = set()
        for start in range(0, len(items), BATCH):
            known |= tx.received.known_listing_ids(account, kind, [item.id for item in items[start : start + BATCH]])
        # An item whose time cannot be read may be of any time in the first round. Later it came in about now.
        unknown_time = now if progress.until else progress.started_at - OVERLAP
        new = {item.id: self._item(item, item.time or unknown_time, now) for item in items if item.id not in known}
        if not new:
            return
        for listed, mailed in same_faxes(list(new.values()), self._not_listed(tx, list(new.values()))):
            tx.received.put(replace(mailed, listing_id=listed.listing_id))
            new.pop(str(listed.listing_id))
        for listed in new.values():
            old = _is_old(listed.at, progress, now)
            tx.received.put(listed if old else replace(listed, due_at=now + self._options.grace))

    def emit(self, tx: Transaction, item_id: str, document: dict[str, Any] | None, defects: Sequence[str], now: datetime) -> bool:
        """Emit the event of an item; return False if it is not needed any more, nor its document.

        That is so if a mail reported the fax meanwhile, or if an untrusted mail has had the same document.
        """
        item = tx.received.get(item_id)
        if item is None or item.event_id is not None:
            return False
        sha256 = document["sha256"] if document else None
        done = replace(item, due_at=None, url=None, sha256=sha256)
        mailed = with_same_document(item, self._not_listed(tx, [item], trusted_only=False), sha256)
        if mailed is not None:
            tx.received.delete(mailed.id)
            tx.received.put(replace(done, mailed=True, event_id=mailed.event_id))
            return False
        type_ = "fax.received" if self._options.kind == "incoming" else "voicemail.received"
        event = tx.events.emit(
            type_, received_data(item, [document] if document else [], defects, listing_id=item.listing_id), now, item.id
        )
        tx.received.put(replace(done, event_id=event.id))
        return True

    def count_failure(self, tx: Transaction, item_id: str) -> None:
        """Count one failed download."""
        item = tx.received.get(item_id)
        if item is not None:
            tx.received.put(replace(item, tries=item.tries + 1))

    def _item(self, item: IncomingItem, at: datetime, now: datetime) -> ReceivedItem:
        options = self._options
        return ReceivedItem(
            id=new_id("fax" if options.kind == "incoming" else "vm"),
            account=options.account,
            kind=options.kind,
            caller=canonical_number(item.source, options.region),
            called=canonical_number(item.did, options.region),
            at=at,
            noted_at=now,
            listing_id=item.id,
            url=item.url,
        )

    def _not_listed(self, tx: Transaction, listed: Sequence[ReceivedItem], *, trusted_only: bool = True) -> list[ReceivedItem]:
        """Return what mails reported about the time of these items and the list has not yet."""
        times = [item.at for item in listed]
        near = tx.received.between(self._options.account, self._options.kind, min(times) - MAX_GAP, max(times) + MAX_GAP)
        return [item for item in near if item.mailed and item.listing_id is None and (item.trusted or not trusted_only)]


def _is_old(at: datetime, progress: ListingProgress, now: datetime) -> bool:
    """Whether an item came in before the very first start, or before the time that was requested.

    After the first round, what was not on the list before is new, even if a wrong time zone makes it look older.
    """
    if progress.until is None:
        # The list has whole seconds. An item that seems to come in later than now is old: the time zone is wrong.
        return not progress.started_at.replace(microsecond=0) <= at <= now + SKEW
    # A list with more than was requested has items that are older than the stored ones, by which they would be known.
    return at < max(progress.started_at, now - LONGEST) - MAX_GAP
