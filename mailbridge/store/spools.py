"""Which spool belongs to a store, and what is done for it at a start."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from mailbridge.store import orphans
from mailbridge.store.interface import Store
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.spool import Spool


def open_spool(state_dir: Path) -> Spool:
    """Open the spool of a store. Raises StoreUnavailable."""
    return LocalSpool(state_dir / "spool")


async def sweep_at_start(store: Store, spool: Spool, now: datetime, created: datetime | None) -> None:
    """Delete what a crash left in a local spool, before mail is accepted; see `orphans.sweep`. Raises StoreUnavailable."""
    if isinstance(spool, LocalSpool):
        await orphans.sweep(store, spool, now, created)
