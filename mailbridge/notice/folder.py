"""Stores received documents in the folders of routes.

A document is written beside its final name, synced, and renamed: whoever watches the folder only sees whole files. The name is
made of time, caller and id, so after a crash the same file is written again, not a second one.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from mailbridge import log
from mailbridge.errors import NotFound, StoreUnavailable
from mailbridge.notice.dispatcher import log_finished, settle, wait_for_work
from mailbridge.notice.outcome import Finished, finished
from mailbridge.notice.relay import Result
from mailbridge.runtime import Runtime
from mailbridge.store.fsync import sync_directory
from mailbridge.store.interface import Transaction
from mailbridge.store.notice_records import DueNotice
from mailbridge.store.spool import Spool

ENDPOINT = "folder"
BATCH = 16
_STORE_PAUSE = 1.0
# What was claimed; if nothing was, when something will be due.
_Claimed = tuple[list[DueNotice], datetime | None]
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")


class FolderDispatcher:
    """Stores documents until cancelled. `zone` is that of the times in file names."""

    name = ENDPOINT

    def __init__(self, runtime: Runtime, zone: ZoneInfo) -> None:
        self._runtime, self._zone = runtime, zone

    async def run(self) -> None:
        """Store what is due, then wait for more."""
        store, clock = self._runtime.store, self._runtime.clock
        more_work = store.subscribe(f"deliver:{ENDPOINT}")
        done: list[Finished] = []
        while True:
            more_work.clear()
            try:
                claimed, next_due = await store.run(_turn(done, clock))
            except StoreUnavailable as error:
                log.store_unavailable(ENDPOINT, error=str(error))
                await asyncio.sleep(_STORE_PAUSE)
                continue
            for one in done:
                log_finished(one)
            done = [await self._store(due) for due in claimed]
            if not claimed:
                await wait_for_work(more_work, None if next_due is None else max(0.0, (next_due - clock()).total_seconds()))

    async def _store(self, due: DueNotice) -> Finished:
        try:
            await asyncio.to_thread(store_document, due, self._runtime.spool, self._zone)
            result = Result("sent")
        except NotFound as error:
            result = Result("refused", None, str(error))
        except OSError as error:
            result = Result("again", None, f"the file cannot be stored: {error.strerror or error}")
        return finished(due, result, self._runtime.clock(), self._runtime.random())


def _turn(done: list[Finished], clock: Callable[[], datetime]) -> Callable[[Transaction], _Claimed]:
    def work(tx: Transaction) -> _Claimed:
        for one in done:
            settle(tx, one)
        claimed = tx.notices.claim(ENDPOINT, clock(), BATCH)
        return claimed, None if claimed else tx.deliveries.next_due(ENDPOINT)

    return work


def file_name(due: DueNotice, zone: ZoneInfo) -> str:
    """Return the name of a received document: time, caller, id, and the suffix of its own name."""
    data = due.event.data
    at = datetime.fromisoformat(data["received_at"]).astimezone(zone)
    caller = re.sub(r"[^0-9A-Za-z+]", "", str(data.get("from") or "")) or "unknown"
    suffix = Path(str((data.get("document") or {}).get("filename") or "")).suffix.lower()
    return f"{at:%Y-%m-%d_%H%M%S}_{caller}_{due.event.fax_id}{suffix if _SUFFIX.fullmatch(suffix) else '.pdf'}"


def store_document(due: DueNotice, spool: Spool, zone: ZoneInfo) -> None:
    """Store a received document durably, blocking. Raises OSError, and NotFound once the document was deleted."""
    document = due.event.data.get("document") or {}
    if not document.get("path"):
        raise NotFound("it has no document, or no longer one")
    folder = Path(str(due.delivery.address))
    final = folder / file_name(due, zone)
    if final.exists() and final.stat().st_size == document["size"]:
        sync_directory(folder)
        return
    beside = folder / f".{final.name}.part"
    try:
        with open(spool.path(document["path"]), "rb") as source, open(beside, "wb") as target:
            shutil.copyfileobj(source, target)
            target.flush()
            os.fsync(target.fileno())
        if beside.stat().st_size != document["size"]:
            raise OSError(errno.EIO, "the document in the spool is incomplete")
        beside.rename(final)
    except BaseException:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
    sync_directory(folder)
