"""Stores received documents in the folders of routes.

A document is written beside its final name, synced, and renamed: whoever watches the folder only sees whole files. The name is
made of time, caller and id, so after a crash the same file is written again, not a second one.
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

from mailbridge import log
from mailbridge.errors import NotFound, StoreUnavailable
from mailbridge.model import received_documents
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
            await asyncio.to_thread(store_documents, due, self._runtime.spool, self._zone)
            result = Result("sent")
        except NotFound as error:
            result = Result("refused", None, str(error))
        except OSError as error:
            result = Result("again", None, f"the file cannot be stored: {error.strerror or error}")
        except Exception as error:  # raised, it would end the daemon
            result = Result("again", None, f"the file cannot be stored ({type(error).__name__})")
        return finished(due, result, self._runtime.clock(), self._runtime.random())


def _turn(done: list[Finished], clock: Callable[[], datetime]) -> Callable[[Transaction], _Claimed]:
    def work(tx: Transaction) -> _Claimed:
        for one in done:
            settle(tx, one)
        claimed = tx.notices.claim(ENDPOINT, clock(), BATCH)
        return claimed, None if claimed else tx.deliveries.next_due(ENDPOINT)

    return work


def file_names(due: DueNotice, zone: ZoneInfo) -> list[str]:
    """Return the name of each received document: time, caller, id, a number from the second on, and its own suffix."""
    data = due.event.data
    at = datetime.fromisoformat(data["received_at"]).astimezone(zone)
    caller = re.sub(r"[^0-9A-Za-z+]", "", str(data.get("from") or "")) or "unknown"
    stem = f"{at:%Y-%m-%d_%H%M%S}_{caller}_{due.event.fax_id}"
    suffixes = [Path(str(one.get("filename") or "")).suffix.lower() for one in received_documents(data)]
    return [
        f"{stem}{f'_{n}' if n > 1 else ''}{suffix if _SUFFIX.fullmatch(suffix) else '.pdf'}"
        for n, suffix in enumerate(suffixes, start=1)
    ]


def store_documents(due: DueNotice, spool: Spool, zone: ZoneInfo) -> None:
    """Store received documents durably, blocking. Raises OSError, and NotFound if there are none, or no longer."""
    documents = received_documents(due.event.data)
    if not documents or not all(one.get("path") for one in documents):
        raise NotFound("it has no document, or no longer one")
    folder = Path(str(due.delivery.address))
    for document, name in zip(documents, file_names(due, zone), strict=True):
        _store(partial(spool.open, document["path"]), folder / name, document["size"])
    sync_directory(folder)


def _store(open_source: Callable[[], io.RawIOBase], final: Path, size: int) -> None:
    if final.exists() and final.stat().st_size == size:
        return
    beside = final.with_name(f".{final.name}.part")
    try:
        with open_source() as content, open(beside, "wb") as target:
            shutil.copyfileobj(content, target)
            target.flush()
            os.fsync(target.fileno())
        if beside.stat().st_size != size:
            raise OSError(errno.EIO, "the document in the spool is incomplete")
        beside.rename(final)
    except BaseException:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
