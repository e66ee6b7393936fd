"""Which spool belongs to a store, and what is done for it at a start."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from mailbridge.store import orphans
from mailbridge.store.bodies import Bodies
from mailbridge.store.body_cache import BodyCache
from mailbridge.store.interface import Store
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.shared_spool import SharedSpool
from mailbridge.store.spool import Spool
from mailbridge.store.unnamed_bodies import UnnamedBodies


class Upkeep(NamedTuple):
    """A service in the background. The node that has its lease runs it; without a lease each node does."""

    name: str
    service: BodyCache | UnnamedBodies
    lease: str = ""


def open_spool(state_dir: Path, bodies: Bodies | None) -> Spool:
    """Open the spool of a store. `bodies` is where a store that nodes share has them. Raises StoreUnavailable."""
    return LocalSpool(state_dir / "spool") if bodies is None else SharedSpool(state_dir / "cache", bodies)


def upkeep(spool: Spool, clock: Callable[[], datetime]) -> list[Upkeep]:
    """Return what runs in the background for a spool that nodes share."""
    if not isinstance(spool, SharedSpool):
        return []
    return [Upkeep("cache", spool.cache), Upkeep("orphans", UnnamedBodies(spool.bodies, clock), lease="orphans")]


async def sweep_at_start(store: Store, spool: Spool, now: datetime, created: datetime | None) -> None:
    """Delete what a crash left in a local spool, before mail is accepted; see `orphans.sweep`. Raises StoreUnavailable."""
    if isinstance(spool, LocalSpool):
        await orphans.sweep(store, spool, now, created)
