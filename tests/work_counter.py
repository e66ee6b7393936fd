"""How much work a function does, counted instead of timed: what else the machine does changes nothing."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def calls(job: Callable[[], object]) -> int:
    """Return how many functions a job calls, those written in C included. A million take about a tenth of a second."""
    count = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        job()
    finally:
        sys.setprofile(None)
    return count


@contextmanager
def hang_guard(seconds: float = 60.0) -> Iterator[None]:
    """End the process, and so the test, when the work in here has used the processor for so many seconds.

    For searches in megabytes. If the work grows with the length, it takes less than a second; if with its square, many hours.
    Nothing milder works: a search of `re` cannot be interrupted. pytest-xdist names the test in which a process ended.
    """
    before = signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
