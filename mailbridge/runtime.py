"""What every service of one daemon shares: the store, the spool, the clock and the source of randomness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from mailbridge.store.interface import Store
from mailbridge.store.spool import Spool


@dataclass(frozen=True, slots=True)
class Runtime:
    """Passed to every service. `clock` returns the time in UTC, `random` a number from 0 up to 1; tests replace both."""

    store: Store
    spool: Spool
    clock: Callable[[], datetime]
    random: Callable[[], float]
