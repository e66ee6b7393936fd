"""Retention: deletes documents and records when they expire, with an audit line and a log line for each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from mailbridge import log
from mailbridge.errors import MailbridgeError
from mailbridge.store.interface import Store, Transaction
from mailbridge.store.retention_interface import AuditLine, PendingDeletion
from mailbridge.store.spool import Spool

# Rows in a transaction: an SMTP client may wait for it, about 20 ms.
BATCH = 100
# Seconds.
_LONGEST_PAUSE = 600.0
# Seconds until a sweep that a backup holds back looks again.
_HOLD_CHECK = 0.5
# A mail that is sent again within a day is recognised by its record, and must not be faxed again.
_RECORDS_AT_LEAST = timedelta(days=1)
# `incoming.do` is read up to 30 days back, and what it listed before is recognised by the stored item.
_RECEIVED_AT_LEAST = timedelta(days=32)


class Deleted(NamedTuple):
    """How much one sweep deleted."""

    documents: int  # sent faxes and received documents whose files were deleted
    faxes: int
    events: int  # of no stored fax
    processed_mails: int
    received_items: int = 0


class Retention:
    """Sweeps until cancelled. `documents` and `records` are seconds after the final state, or after a received fax's event.

    Documents are deleted with their record at the latest, and records are kept for at least a day. A fax that is not final and an
    event that is still to be delivered are kept. The next sweep finishes one that was interrupted.
    """

    def __init__(self, documents: float, records: float, store: Store, spool: Spool, clock: Callable[[], datetime]) -> None:
        self._records = max(timedelta(seconds=records), _RECORDS_AT_LEAST)
        self._documents = min(timedelta(seconds=documents), self._records)
        self._store, self._spool, self._clock = store, spool, clock
        self._working = asyncio.Lock()
        self._held_until = 0.0  # by the event loop's clock

    async def hold(self, seconds: float) -> None:
        """Delete no file for so many seconds from now on, 0 to end that; return when none is being deleted.

        A backup copies the files that its copy of the database names.
        """
        self._held_until = asyncio.get_running_loop().time() + seconds
        async with self._working:
            pass

    async def run(self) -> None:
        """Sweep now, and then at intervals of a tenth of the shorter time, at most ten minutes."""
        pause = min(_LONGEST_PAUSE, max(1.0, self._documents.total_seconds() / 10))
        while True:
            try:
                await self.sweep(self._clock())
            except MailbridgeError as error:
                log.store_unavailable("retention", error=str(error))
            await asyncio.sleep(pause)

    async def sweep(self, now: datetime) -> Deleted:
        """Delete what has expired at `now`, in batches; return how much. Raises StoreUnavailable."""
        documents, records = now - self._documents, now - self._records
        while await self._store.run(lambda tx: tx.retention.discard_documents(documents, now, BATCH)):
            pass
        while await self._store.run(lambda tx: tx.retention.discard_received(documents, now, BATCH)):
            pass
        return Deleted(
            documents=await self._delete_files(),
            faxes=await self._delete_records(lambda tx: tx.retention.delete_faxes(records, now, BATCH)),
            events=await self._delete_records(lambda tx: tx.retention.delete_events(records, now, BATCH)),
            processed_mails=await self._delete_rows(lambda tx: tx.retention.delete_processed_mails(records, BATCH)),
            received_items=await self._delete_rows(
                lambda tx: tx.retention.delete_received_items(min(records, now - _RECEIVED_AT_LEAST), BATCH)
            ),
        )

    async def _delete_files(self) -> int:
        """Unlink the files of pending deletions, also of an interrupted sweep; return how many documents were deleted."""
        deleted, last = 0, ""
        while pending := await self._store.run(partial(_pending, after=last)):
            deleted += await self._unlink_batch({deletion.path: deletion.files for deletion in pending})
            last = pending[-1].path
        return deleted

    async def _unlink_batch(self, files_by_path: dict[str, tuple[str, ...]]) -> int:
        gone = await self._unlink(files_by_path)
        for path in files_by_path.keys() - gone:
            log.document_not_deleted("retention", error="a file cannot be deleted from the spool", path=path)
        lines = await self._store.run(lambda tx: tx.retention.finish_deletions(gone, self._clock()))
        await self._free_segments(gone)
        for line in lines:
            log.document_deleted(line.subject, sha256=[document["sha256"] for document in line.record["documents"]])
        return len(lines)

    async def _free_segments(self, deleted: set[str]) -> None:
        """Delete the segments of which a mail was deleted and no other is left. What a crash prevents, the next start does."""
        settled = self._spool.retire_segments(deleted)
        left = await self._store.run(lambda tx: tx.retention.known_segments(settled)) if settled else set()
        if empty := set(settled) - left:
            await self._unlink({path: (path,) for path in empty})

    async def _unlink(self, files_by_path: dict[str, tuple[str, ...]]) -> set[str]:
        """Delete files while nothing holds them, and return what `Spool.delete_all` returns."""
        loop = asyncio.get_running_loop()
        while True:
            async with self._working:
                if loop.time() >= self._held_until:
                    return await asyncio.to_thread(self._spool.delete_all, files_by_path)
            await asyncio.sleep(_HOLD_CHECK)

    async def _delete_records(self, work: Callable[[Transaction], Sequence[AuditLine]]) -> int:
        deleted = 0
        while lines := await self._store.run(work):
            for line in lines:
                log.record_deleted(line.subject, what=line.what, state=line.record.get("state") or line.record.get("type"))
            deleted += len(lines)
        return deleted

    async def _delete_rows(self, work: Callable[[Transaction], int]) -> int:
        deleted = 0
        while count := await self._store.run(work):
            deleted += count
        return deleted


def _pending(tx: Transaction, after: str) -> list[PendingDeletion]:
    return tx.retention.pending_deletions(BATCH, after)
