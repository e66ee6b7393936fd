"""Retention: documents and records go when their time has come, and an audit line and a log line tell it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mailbridge import log
from mailbridge.errors import MailbridgeError, NotFound, StoreUnavailable
from mailbridge.store.fsync import sync_directory
from mailbridge.store.interface import AuditLine, PendingDeletion, Store, Transaction
from mailbridge.store.spool import Spool

# So many rows a transaction: an SMTP client waits behind it for some 20 ms.
BATCH = 100
_LONGEST_PAUSE = 600.0
# A mail that is sent again within a day is known by its record, and must not be faxed again.
_RECORDS_AT_LEAST = timedelta(days=1)
# The list of what came in is read up to 30 days back, and what it told of before is known by its receipt.
_RECEIPTS_AT_LEAST = timedelta(days=32)


class Swept(NamedTuple):
    """What one sweep deleted: documents of so many faxes, faxes, events of no fax, digests of handled mails, receipts."""

    documents: int
    faxes: int
    events: int
    handled: int
    receipts: int = 0


class Retention:
    """Sweeps until cancelled. `documents` and `records` are seconds after the final state, or after a received fax's event.

    Documents never outlive their record, and records are kept for a day at least. Nothing that is not final is deleted, nor
    an event that is still to be delivered. A sweep that is broken off anywhere is taken up again by the next one.
    """

    def __init__(self, documents: float, records: float, store: Store, spool: Spool, clock: Callable[[], datetime]) -> None:
        self._records = max(timedelta(seconds=records), _RECORDS_AT_LEAST)
        self._documents = min(timedelta(seconds=documents), self._records)
        self._store, self._spool, self._clock = store, spool, clock

    async def run(self) -> None:
        """Sweep now, and again after a tenth of the shorter time, ten minutes at most."""
        pause = min(_LONGEST_PAUSE, max(1.0, self._documents.total_seconds() / 10))
        while True:
            try:
                await self.sweep(self._clock())
            except MailbridgeError as error:
                log.store_unavailable("retention", error=str(error))
            await asyncio.sleep(pause)

    async def sweep(self, now: datetime) -> Swept:
        """Delete what is due at `now`, in batches; return how much it was. Raises StoreUnavailable."""
        documents, records = now - self._documents, now - self._records
        while await self._store.run(lambda tx: tx.retention.discard_documents(documents, now, BATCH)):
            pass
        while await self._store.run(lambda tx: tx.retention.discard_received(documents, now, BATCH)):
            pass
        return Swept(
            documents=await self._erase(),
            faxes=await self._delete(lambda tx: tx.retention.delete_faxes(records, now, BATCH)),
            events=await self._delete(lambda tx: tx.retention.delete_events(records, now, BATCH)),
            handled=await self._forget(lambda tx: tx.retention.delete_processed_mails(records, BATCH)),
            receipts=await self._forget(
                lambda tx: tx.retention.delete_received_items(min(records, now - _RECEIPTS_AT_LEAST), BATCH)
            ),
        )

    async def _erase(self) -> int:
        """Unlink what is noted for erasure, also by a sweep that was broken off, and tell it once it is gone for good."""
        told, last = 0, ""
        while noted := await self._store.run(partial(_noted, after=last)):
            told += await self._erase_some({erasure.path: erasure.files for erasure in noted})
            last = noted[-1].path
        return told

    async def _erase_some(self, noted: dict[str, tuple[str, ...]]) -> int:
        gone = await asyncio.to_thread(erase, self._spool, noted)
        for path in noted.keys() - gone:
            log.document_not_deleted("retention", error="a file cannot be deleted from the spool", path=path)
        lines = await self._store.run(lambda tx: tx.retention.finish_deletions(gone, self._clock()))
        for line in lines:
            log.document_deleted(line.subject, sha256=[document["sha256"] for document in line.record["documents"]])
        return len(lines)

    async def _delete(self, work: Callable[[Transaction], Sequence[AuditLine]]) -> int:
        told = 0
        while lines := await self._store.run(work):
            for line in lines:
                log.record_deleted(line.subject, what=line.what, state=line.record.get("state") or line.record.get("type"))
            told += len(lines)
        return told

    async def _forget(self, work: Callable[[Transaction], int]) -> int:
        forgotten = 0
        while count := await self._store.run(work):
            forgotten += count
        return forgotten


def _noted(tx: Transaction, after: str) -> list[PendingDeletion]:
    return tx.retention.pending_deletions(BATCH, after)


def erase(spool: Spool, wanted: Mapping[str, Sequence[str]]) -> set[str]:
    """Remove the files of each key, blocking; return the keys whose files are gone, even after a power cut.

    A file that cannot be removed keeps its key out. Raises StoreUnavailable where a directory cannot be synced.
    """
    gone: set[str] = set()
    directories: set[Path] = set()
    for key, relpaths in wanted.items():
        with contextlib.suppress(OSError, NotFound):
            for path in map(spool.path, relpaths):
                path.unlink(missing_ok=True)
                directories.add(path.parent)
            gone.add(key)
    try:
        for directory in filter(Path.is_dir, directories):
            sync_directory(directory)
    except OSError as error:
        raise StoreUnavailable(f"the spool cannot be synced: {error.strerror}") from None
    return gone
