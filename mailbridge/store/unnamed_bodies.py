"""Bodies without a record: a crash between a body and the record that names it leaves them, and so does a refused mail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from mailbridge import log
from mailbridge.errors import StoreUnavailable
from mailbridge.store.bodies import Bodies

# A body that is about to be recorded is never so old, and neither is that of a draft.
AGE: Final = timedelta(hours=6)
_EVERY: Final = 3600.0  # seconds
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


class UnnamedBodies:
    """Deletes the bodies that belong to no record and are older than AGE, until cancelled. One node at a time runs it."""

    def __init__(self, bodies: Bodies, clock: Callable[[], datetime]) -> None:
        self._bodies, self._clock = bodies, clock
        self._since = _LONG_AGO  # those that were stored before were looked at

    async def run(self) -> None:
        """Sweep now, and then every hour."""
        while True:
            try:
                await self.sweep(self._clock() - AGE)
            except StoreUnavailable as error:
                log.store_unavailable("spool", error=str(error))
            await asyncio.sleep(_EVERY)

    async def sweep(self, before: datetime) -> int:
        """Delete the bodies stored before a time that belong to no record; return how many. Raises StoreUnavailable."""
        count = 0
        last: str | None = ""
        while last is not None:
            # A part at a time: the database may have a million, and many of them are looked at in vain.
            names, last = await asyncio.to_thread(self._bodies.unnamed, self._since, before, last)
            # A mail whose record comes just now is not old any more: see `body_rows.store_bodies`.
            deleted = await asyncio.to_thread(self._bodies.delete, names, before)
            for name in deleted:
                log.orphan_deleted("spool", path=name)
            count += len(deleted)
        self._since = before - AGE  # a transaction that was slow to commit may have been missed
        log.orphans_swept("spool", orphans=count)
        return count
