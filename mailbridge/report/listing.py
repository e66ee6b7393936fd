"""The list of `incoming.do` beside the mailbox: voicemails, and the faxes that no mail brought, each told exactly once.

A fax that is listed waits for its mail, GRACE_ROUNDS rounds long, before the list tells of it: the mail tells it in seconds
where all is well. A mail and an item are the same fax by numbers and times (see `listing_match`), whichever comes first. A mail
that is not trusted stands for an item only where it brought the very document, since a forged one must not hide a fax.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, BinaryIO, Final, Literal
from zoneinfo import ZoneInfo

from mailbridge import log
from mailbridge.errors import MailbridgeError, StoreUnavailable
from mailbridge.model import ListingProgress, ReceivedItem, new_id, rfc3339
from mailbridge.myfax import IncomingItem, MyFax
from mailbridge.report.document_download import Documents, NotFetched, content_type, stem
from mailbridge.report.listing_match import NEAR, number, pair, twin
from mailbridge.report.match import SKEW
from mailbridge.report.recorder import document_told
from mailbridge.retry import backoff
from mailbridge.store.interface import Store, Transaction
from mailbridge.store.spool import Spool

Kind = Literal["incoming", "voice"]

GRACE_ROUNDS: Final = 2
# A document that so many rounds could not bring is told as missing.
TRIES: Final = 5
# Each round looks back a day beyond the last one, since the list may be late; and never further than receipts are kept for.
OVERLAP: Final = timedelta(days=1)
LONGEST: Final = timedelta(days=30)
_SLOWEST: Final = 3600.0
_BATCH: Final = 100
_CHUNK: Final = 1 << 16


class Listing:
    """Compares one account's list of one kind with what mails brought, every `every` seconds. Nothing ends it.

    At the very first start nothing that came in before is told.
    """

    def __init__(
        self,
        account: str,
        kind: Kind,
        every: float,
        myfax: MyFax,
        documents: Documents,
        store: Store,
        spool: Spool,
        clock: Callable[[], datetime],
        random: Callable[[], float],
        *,
        zone: ZoneInfo,
        region: str = "IL",
    ) -> None:
        self.name = f"listing {account} {kind}"
        self._account, self._kind, self._every, self._myfax, self._documents = account, kind, every, myfax, documents
        self._store, self._spool, self._clock, self._random = store, spool, clock, random
        self._zone, self._region = zone, region
        self._grace = timedelta(seconds=GRACE_ROUNDS * every) if kind == "incoming" else timedelta()
        self._first = True

    async def run(self) -> None:
        """Compare until cancelled; while MyFax does not answer, less and less often."""
        failures = 0
        while True:
            try:
                await self.compare()
                failures = 0
            except Exception as error:  # whatever it was, the list is read again after a while
                failures += 1
                why = str(error) if isinstance(error, MailbridgeError) else f"{type(error).__name__}: {error}"
                log.listing_failed(self.name, error=why, failures=failures)
            slowest = max(_SLOWEST, self._every)
            await asyncio.sleep(backoff(failures, self._every, slowest, self._random()) if failures else self._every)

    async def compare(self) -> None:
        """Make one round: read the list, note what is new, and tell what no mail told in time. Raises MailbridgeError."""
        now = self._clock()
        known = await self._store.run(lambda tx: tx.received.progress(self._account, self._kind, now))
        start = max(min(known.until or known.started_at, now) - OVERLAP, now - LONGEST)
        items = [item async for item in self._myfax.incoming(self._kind, start)]
        await self._store.run(lambda tx: self._note(tx, items, now))
        # After a start, what waits in the mailbox is read first.
        if self._first and self._grace:
            self._first = False
            return
        due = await self._store.run(lambda tx: tx.received.due(self._account, self._kind, now, _BATCH))
        for receipt in due:
            await self._tell(receipt)

    def _note(self, tx: Transaction, items: list[IncomingItem], now: datetime) -> None:
        """Note what is new on the list: as of a mail that came before, as old, or as waiting."""
        known = tx.received.progress(self._account, self._kind, now)
        tx.received.save_progress(self._account, self._kind, now)
        seen: set[str] = set()
        for begin in range(0, len(items), _BATCH):
            seen |= tx.received.known_listing_ids(self._account, self._kind, [item.id for item in items[begin : begin + _BATCH]])
        # In the first round a time that cannot be read may be any, and later it is about now.
        unread = now if known.until else known.started_at - OVERLAP
        fresh = {item.id: self._receipt(item, item.time or unread, now) for item in items if item.id not in seen}
        if not fresh:
            return
        for receipt, mailed in pair(list(fresh.values()), self._unlisted(tx, list(fresh.values()))):
            tx.received.put(replace(mailed, listing_id=receipt.listing_id))
            fresh.pop(str(receipt.listing_id))
        for receipt in fresh.values():
            old = _is_old(receipt.at, known, now)
            tx.received.put(receipt if old else replace(receipt, due_at=now + self._grace))

    def _receipt(self, item: IncomingItem, at: datetime, now: datetime) -> ReceivedItem:
        return ReceivedItem(
            id=new_id("fax" if self._kind == "incoming" else "vm"),
            account=self._account,
            kind=self._kind,
            caller=number(item.source, self._region),
            called=number(item.did, self._region),
            at=at,
            noted_at=now,
            listing_id=item.id,
            url=item.url,
        )

    def _unlisted(self, tx: Transaction, listed: list[ReceivedItem], trusted: bool = True) -> list[ReceivedItem]:
        """Return what mails brought about the time of these items and the list did not tell yet."""
        times = [receipt.at for receipt in listed]
        near = tx.received.between(self._account, self._kind, min(times) - NEAR, max(times) + NEAR)
        return [one for one in near if one.mailed and one.listing_id is None and (one.trusted or not trusted)]

    async def _tell(self, receipt: ReceivedItem) -> None:
        """Raise the event of an item, with its document; or count a failed download."""
        document, defect = None, None
        try:
            document = await self._fetch(receipt)
        except NotFetched as error:
            log.document_not_fetched(receipt.id, error=str(error), failures=receipt.tries + 1)
            if error.again and receipt.tries + 1 < TRIES:
                await self._store.run(lambda tx: self._count(tx, receipt.id))
                return
            defect = str(error)
        event = self._event(receipt, document, defect)
        try:
            raised = await self._store.run(lambda tx: self._raise(tx, receipt.id, event, self._clock()))
        except BaseException:
            await self._discard(document)
            raise
        if raised:
            tell = log.fax_received if self._kind == "incoming" else log.voicemail_received
            tell(receipt.id, account=self._account, source="listing", document=document is not None)
        else:
            await self._discard(document)

    async def _fetch(self, receipt: ReceivedItem) -> dict[str, Any]:
        if receipt.url is None:
            raise NotFetched("the list names no address of the document", again=False)
        with tempfile.TemporaryFile() as file:
            await self._documents.fetch(receipt.url, file)
            return await asyncio.to_thread(self._keep, receipt, file)

    def _keep(self, receipt: ReceivedItem, file: BinaryIO) -> dict[str, Any]:
        """Store a fetched document durably, blocking."""
        digest, size = hashlib.sha256(), file.tell()
        file.seek(0)
        type_, ending = content_type(file.read(64))
        file.seek(0)

        def pieces() -> Iterator[bytes]:
            while piece := file.read(_CHUNK):
                digest.update(piece)
                yield piece

        path = self._spool.store_received(receipt.id, pieces())
        return document_told(path, digest.hexdigest(), size, type_, stem(receipt.at, receipt.caller, self._zone) + ending)

    async def _discard(self, document: dict[str, Any] | None) -> None:
        if document is not None:
            try:
                await asyncio.to_thread(self._spool.delete, document["path"])
            except StoreUnavailable as error:
                log.document_not_deleted(self.name, error=str(error))

    def _count(self, tx: Transaction, receipt_id: str) -> None:
        receipt = tx.received.get(receipt_id)
        if receipt is not None:
            tx.received.put(replace(receipt, tries=receipt.tries + 1))

    def _raise(self, tx: Transaction, receipt_id: str, data: dict[str, Any], now: datetime) -> bool:
        """Raise the event, unless a mail told of the fax meanwhile, or the same document came by a mail that is not trusted."""
        receipt = tx.received.get(receipt_id)
        if receipt is None or receipt.event_id is not None:
            return False
        sha256 = data["document"] and data["document"]["sha256"]
        same = twin(receipt, self._unlisted(tx, [receipt], trusted=False), sha256)
        done = replace(receipt, due_at=None, url=None, sha256=sha256)
        if same is not None:
            tx.received.delete(same.id)
            tx.received.put(replace(done, mailed=True, event_id=same.event_id))
            return False
        event = tx.events.emit("fax.received" if self._kind == "incoming" else "voicemail.received", data, now, receipt.id)
        tx.received.put(replace(done, event_id=event.id))
        return True

    def _event(self, receipt: ReceivedItem, document: dict[str, Any] | None, defect: str | None) -> dict[str, Any]:
        data = {
            "fax_id": receipt.id,
            "seq": 1,
            "direction": "inbound",
            "account": self._account,
            "mailbox": None,
            "to": receipt.called,
            "from": receipt.caller,
            "status": "received",
            "received_at": rfc3339(receipt.at),
            "pages": None,
            "source": "listing",
            # MyFax itself said so, over a connection that only it can answer on.
            "trusted": True,
            "listing_id": receipt.listing_id,
            "document": document,
        }
        return data if defect is None else {**data, "defects": [defect]}


def _is_old(at: datetime, known: ListingProgress, now: datetime) -> bool:
    """Whether something came in before the very first start, or longer ago than is asked for.

    After the first round, what was not on the list before is new, even where a zone that is set wrong makes it look older.
    """
    if known.until is None:
        # The list tells whole seconds; and where that zone makes what is old look as if it were still to come, it is old.
        return not known.started_at.replace(microsecond=0) <= at <= now + SKEW
    # A list that tells more than was asked for holds what is older than the receipts by which it would be known.
    return at < max(known.started_at, now - LONGEST) - NEAR
