"""The time of day, without its jumps: what waits is shifted before a clock that was set is believed.

The system's clock is followed as it is, also where it is slewed. Where it jumps against the clock that nobody can set, the old
time goes on until `believe` is called: whoever keeps deadlines moves them first, so that none comes early, late or twice.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

# Less than this may be a slow machine between two readings; more is somebody who set the clock.
_JUMP = timedelta(seconds=20)


def _steady() -> float:
    """Seconds of a clock that cannot be set; on Linux it goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()


def _system() -> datetime:
    return datetime.now(UTC)


class Clock:
    """Call it for the time now, aware, in UTC. `steady` gives seconds, `system` the time of the clock that can be set."""

    def __init__(self, steady: Callable[[], float] = _steady, system: Callable[[], datetime] = _system) -> None:
        self._steady, self._system = steady, system
        self._anchor, self._anchored_at = system(), steady()

    def __call__(self) -> datetime:
        steady, kept, system = self._read()
        if _is_jump(system - kept):
            return kept
        self._anchor, self._anchored_at = system, steady
        return system

    @property
    def jump(self) -> timedelta:
        """By how much the system's clock was set since it was last believed, zero where it was not."""
        _, kept, system = self._read()
        return system - kept if _is_jump(system - kept) else timedelta()

    def believe(self, jump: timedelta) -> None:
        """Follow the system's clock again, after a jump whose deadlines have been moved."""
        self._anchor += jump

    def _read(self) -> tuple[float, datetime, datetime]:
        """Return one reading of the steady clock, the time that goes on by it, and the system's."""
        steady = self._steady()
        return steady, self._anchor + timedelta(seconds=steady - self._anchored_at), self._system()


def _is_jump(difference: timedelta) -> bool:
    return abs(difference) >= _JUMP
