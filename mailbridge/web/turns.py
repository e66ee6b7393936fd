"""Turns of HTTP clients: each reads one input at a time, and then rests while the others read theirs.

A client rests longer, the more its requests have cost. So whoever asks all the time waits for himself alone, however many
connections he has.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Final

# Seconds between two inputs of one client: a request takes about a millisecond of the event loop, whatever its answer.
INTERVAL: Final = 0.01
# Seconds between the inputs of any two.
GAP: Final = 0.001
# Seconds that a client rests for each second of shared work that its requests take.
REST: Final = 2.0


class ClientTurns:
    """Calls the work of each client in its turn."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Callable[[], None]]] = {}
        self._rest_until: dict[str, float] = {}
        self._next_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def call(self, client: str, work: Callable[[], None]) -> None:
        """Do `work` now, or when the client's turn comes. `work` must not raise."""
        self._waiting.setdefault(client, deque()).append(work)
        self._go_on()

    def charge(self, client: str, seconds: float) -> None:
        """Let a client rest for shared work that was done for it."""
        now = asyncio.get_running_loop().time()
        self._rest_until[client] = max(now, self._rest_until.get(client, now)) + REST * seconds

    def _go_on(self) -> None:
        """Do what is due, or set the timer for it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._waiting:
            return
        loop = asyncio.get_running_loop()
        client = min(self._waiting, key=self._due)
        at = max(self._due(client), self._next_at)
        if at > loop.time():
            self._timer = loop.call_at(at, self._go_on)
        else:
            self._do_next(client, loop.time())
            self._go_on()

    def _due(self, client: str) -> float:
        return self._rest_until.get(client, 0.0)

    def _do_next(self, client: str, now: float) -> None:
        waiting = self._waiting[client]
        work = waiting.popleft()
        if not waiting:
            del self._waiting[client]
        # Those who wait keep the time of their turn: it says who has waited longest.
        self._rest_until = {each: until for each, until in self._rest_until.items() if until > now or each in self._waiting}
        self._rest_until[client], self._next_at = now + INTERVAL, now + GAP
        began = perf_counter()
        work()
        self.charge(client, perf_counter() - began)
