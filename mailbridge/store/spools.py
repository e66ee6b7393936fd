"""Which spool belongs to a store, and what is done for it at a start."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from mailbridge.store import orphans
from mailbridge.store.bodies import Bodies
from mailbridge.store.interface import Store
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.shared_spool import SharedSpool
from mailbridge.store.spool import Spool


def open_spool(state_dir: Path, bodies: Bodies | None) -> Spool:
    """Open the spool of a store. `bodies` is where a store that nodes share has them. Raises StoreUnavailable."""
    return LocalSpool(state_dir / "spool") if bodies is None else SharedSpool(state_dir / "cache", bodies)


async def keep_cache(spool: Spool) -> None:
    """Keep the cache of a shared spool small, until cancelled."""
    if isinstance(spool, SharedSpool):
        await spool.keep_cache()


async def sweep_at_start(store: Store, spool: Spool, now: datetime, created: datetime | None) -> None:
    """Delete what a crash left in a local spool, before mail is accepted; see `orphans.sweep`. Raises StoreUnavailable."""
    if isinstance(spool, LocalSpool):
        await orphans.sweep(store, spool, now, created)
