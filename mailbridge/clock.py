"""The time of day without jumps: after the system's clock is set, deadlines are shifted before anyone sees the new time.

`Clock` follows the system's clock, also while it is slewed. When that jumps relative to a clock that nobody can set, `Clock`
continues with the old time until `accept_jump` is called. Whoever keeps deadlines shifts them first, so that nothing happens
early, late or twice.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

# A smaller difference may be a slow machine between two readings; a larger one means that the clock was set.
_JUMP = timedelta(seconds=20)


def steady() -> float:
    """Return the seconds of a clock that cannot be set; on Linux it also counts while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()


def _system() -> datetime:
    return datetime.now(UTC)


class Clock:
    """Call it for the current time, aware, in UTC. `steady` returns seconds, `system` the time of the clock that can be set."""

    def __init__(self, steady: Callable[[], float] = steady, system: Callable[[], datetime] = _system) -> None:
        self._steady, self._system = steady, system
        self._anchor, self._anchored_at = system(), steady()

    def __call__(self) -> datetime:
        steady, expected, system = self._read()
        if _is_jump(system - expected):
            return expected
        self._anchor, self._anchored_at = system, steady
        return system

    @property
    def jump(self) -> timedelta:
        """By how much the system's clock was set since the last accepted jump; zero if it was not."""
        _, expected, system = self._read()
        return system - expected if _is_jump(system - expected) else timedelta()

    def accept_jump(self, jump: timedelta) -> None:
        """Follow the system's clock again. Call it after all deadlines have been shifted by `jump`."""
        self._anchor += jump

    def _read(self) -> tuple[float, datetime, datetime]:
        """Return the steady clock's seconds, the time expected by it, and the system's time."""
        steady = self._steady()
        return steady, self._anchor + timedelta(seconds=steady - self._anchored_at), self._system()


def _is_jump(difference: timedelta) -> bool:
    return abs(difference) >= _JUMP
