"""The timer of a silent connection fires once, as long after the last restart as it should."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from mailbridge.submission.idle_timer import IdleTimer


class Loop:
    """A loop whose clock stands until `run` sets it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, Callable[[], None], asyncio.TimerHandle]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, (), self)  # type: ignore[arg-type]  # it only asks for get_debug
        self.timers.append((when, callback, handle))
        return handle

    def get_debug(self) -> bool:
        return False

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def run(self, until: float) -> None:
        self.now = until
        due = [timer for timer in self.timers if timer[0] <= until]
        self.timers = [timer for timer in self.timers if timer[0] > until]
        for _, callback, handle in due:
            if not handle.cancelled():
                callback()


@pytest.fixture
def made() -> tuple[Any, IdleTimer, list[float]]:
    loop, fired = Loop(), list[float]()
    return loop, IdleTimer(loop, 10.0, lambda: fired.append(loop.now)), fired  # type: ignore[arg-type]  # what it needs of a loop


def test_fires_after_the_last_restart_and_once(made: tuple[Any, IdleTimer, list[float]]) -> None:
    loop, timer, fired = made
    timer.restart()
    loop.run(108)
    timer.restart()
    loop.run(110)
    assert len(loop.timers) == 1
    loop.run(117.9)
    assert not fired
    loop.run(118)
    loop.run(200)
    assert fired == [118]


def test_stands_still_until_it_is_restarted(made: tuple[Any, IdleTimer, list[float]]) -> None:
    loop, timer, fired = made
    timer.restart()
    timer.stop()
    loop.run(150)
    timer.restart()
    loop.run(159)
    assert not fired
    loop.run(160)
    assert fired == [160]


def test_fires_no_more_once_it_is_cancelled(made: tuple[Any, IdleTimer, list[float]]) -> None:
    loop, timer, fired = made
    timer.restart()
    timer.cancel()
    timer.cancel()
    loop.run(500)
    assert not fired
