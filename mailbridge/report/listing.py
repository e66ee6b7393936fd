"""The lists of `incoming.do` beside the mailbox: voicemails, and the faxes that no mail reported. Each is reported exactly once.

A listed fax waits for its mail, GRACE_ROUNDS rounds long, before the list reports it: where all is well, the mail comes within
seconds. A mail and an item are the same fax by numbers and times (see `listing_match`), whichever comes first. An untrusted mail
counts as an item's only if it has the same document: a forged mail must not hide a fax.

The transaction that records new items also stores how far the list was compared; each later round looks back a day before that.
The transaction that emits an event stores its id in the item, and an item that has one emits nothing. So a crash between two
steps neither loses a fax nor reports it twice. A document without an event is deleted as an orphan.

Each download is stored under a name of its own. With several nodes, one that was paused, and has lost the list to another, so
neither replaces nor deletes the document of the event that the other has emitted.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from mailbridge import log
from mailbridge.errors import MailbridgeError, Undecided
from mailbridge.model import ReceivedItem, new_id
from mailbridge.myfax import MyFax
from mailbridge.report.document_download import Documents, NotFetched, content_type, file_stem
from mailbridge.report.listing_recorder import BATCH, LONGEST, OVERLAP, ListingOptions, ListingRecorder
from mailbridge.report.received_document import discard_documents, spool_document
from mailbridge.retry import backoff
from mailbridge.runtime import Runtime
from mailbridge.store.spool_paths import received_name

# A document that so many rounds could not download is reported as missing.
TRIES: Final = 5
# Seconds. While MyFax does not answer, rounds come less often, up to this.
_LONGEST_PAUSE: Final = 3600.0
_CHUNK: Final = 1 << 16


class Listing:
    """Compares one account's list of one kind with what mails reported. Nothing ends it.

    What came in before the very first start is never reported.
    """

    def __init__(self, options: ListingOptions, myfax: MyFax, documents: Documents, runtime: Runtime) -> None:
        self.name = f"listing {options.account} {options.kind}"
        self._options, self._myfax, self._documents, self._runtime = options, myfax, documents, runtime
        self._recorder = ListingRecorder(options)
        self._first_round = True

    async def run(self) -> None:
        """Compare until cancelled; while MyFax does not answer, less and less often."""
        failures, every = 0, self._options.every
        while True:
            try:
                await self.compare()
                failures = 0
            except Exception as error:  # whatever it was, the list is read again after a while
                failures += 1
                reason = str(error) if isinstance(error, MailbridgeError) else f"{type(error).__name__}: {error}"
                log.listing_failed(self.name, error=reason, failures=failures)
            longest = max(_LONGEST_PAUSE, every)
            await asyncio.sleep(backoff(failures, every, longest, self._runtime.random()) if failures else every)

    async def compare(self) -> None:
        """Make one round: read the list, record what is new, and report what no mail reported in time. Raises MailbridgeError."""
        now, run = self._runtime.clock(), self._runtime.store.run
        account, kind = self._options.account, self._options.kind
        progress = await run(lambda tx: tx.received.progress(account, kind, now))
        start = max(min(progress.until or progress.started_at, now) - OVERLAP, now - LONGEST)
        items = [item async for item in self._myfax.incoming(kind, start)]
        await run(lambda tx: self._recorder.record_new(tx, items, now))
        # After a start, the mails that wait in the mailbox come first.
        if self._first_round and self._options.grace:
            self._first_round = False
            return
        for item in await run(lambda tx: tx.received.due(account, kind, now, BATCH)):
            await self._report(item)

    async def _report(self, item: ReceivedItem) -> None:
        """Emit the event of an item with its document, or count a failed download."""
        document, defects = None, list[str]()
        try:
            document = await self._download(item)
        except NotFetched as error:
            log.document_not_fetched(item.id, error=str(error), failures=item.tries + 1)
            if error.retryable and item.tries + 1 < TRIES:
                await self._runtime.store.run(lambda tx: self._recorder.count_failure(tx, item.id))
                return
            defects.append(str(error))
        now = self._runtime.clock()
        try:
            emitted = await self._runtime.store.run(lambda tx: self._recorder.emit(tx, item.id, document, defects, now))
        except Undecided:  # the event may be there, and name the document
            raise
        except Exception:  # and not a cancellation, which does not cancel the transaction
            await discard_documents(self._runtime.spool, [document] if document else [], self.name)
            raise
        if not emitted:
            await discard_documents(self._runtime.spool, [document] if document else [], self.name)
            return
        event = log.fax_received if self._options.kind == "incoming" else log.voicemail_received
        event(item.id, account=self._options.account, source="listing", document=document is not None)

    async def _download(self, item: ReceivedItem) -> dict[str, Any]:
        """Download the document of an item into the spool, and return it as events hold it."""
        if item.url is None:
            raise NotFetched("the list names no address of the document", retryable=False)
        with tempfile.TemporaryFile() as file:
            await self._documents.fetch(item.url, file)
            return await asyncio.to_thread(self._spool, item, file)

    def _spool(self, item: ReceivedItem, file: BinaryIO) -> dict[str, Any]:
        file.seek(0)
        type_, ending = content_type(file.read(64))
        file.seek(0)
        name = file_stem(item.at, item.caller, self._options.zone) + ending
        stored_as = received_name(new_id(item.id.partition("_")[0]), 1)
        return spool_document(self._runtime.spool, stored_as, _chunks(file), type_, name)


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk
