"""Turns: in one turn of the event loop, the connections of one client get a bounded share of the work.

Input that has arrived suspends nothing: a session whose client has pipelined thousands of commands would answer them all before
anybody else is served. So each session counts what it does, and when its client's share of this turn is spent, it goes on in a
later one. Clients are served side by side, however many connections one of them has.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

# What one client gets in one turn: so many commands, as many times 64 KB of data, two connections, or a step of a handshake.
SHARE: Final = 8
COMMAND: Final = 1
RECIPIENT: Final = 3  # besides its command: its number is checked against every rule
CONNECTION: Final = 4
HANDSHAKE: Final = SHARE
CHUNK: Final = 4  # the most that one read of a socket brings, 256 KB
DEAR_CHUNK: Final = 2 * SHARE
# Seconds for 64 KB of data: base64 takes half of that at most. A client whose data takes longer rests for twice the time.
DEAR_DATA: Final = 0.0004
# Seconds for a command that costs no more than others do. A client whose command takes longer rests for twice the time.
DEAR_COMMAND: Final = 0.002
# Data that is read at once, also from a client whose share is spent: to put it off would cost more than to read it.
LITTLE_DATA: Final = 16_384
UNIT: Final = 65_536
_UNIT_SECONDS: Final = 0.0002
# What exceeds a share is paid in the turns after it, in so many at most.
_LONGEST_DEBT: Final = 20 * SHARE


def cost_of_data(size: int, seconds: float = 0.0) -> int:
    """Return what a chunk of a mail costs, by its size in bytes and by the time that reading it took.

    A chunk of short lines that all begin with a dot takes ten times as long as one of base64.
    """
    return 1 + size // UNIT + int(seconds / _UNIT_SECONDS)


class Turns:
    """Counts the work of each client in the present turn of the event loop, and what it owes from the turns before."""

    def __init__(self) -> None:
        self._spent: dict[str, int] = {}
        self._waiting: dict[str, deque[Callable[[], None]]] = {}
        self._scheduled = False
        self._after_rest: asyncio.TimerHandle | None = None
        self._rest_until: dict[str, float] = {}

    def spend(self, client: str, cost: int) -> bool:
        """Count work that was done; return whether the client's share of this turn is spent."""
        self._schedule()
        self._spent[client] = self._spent.get(client, 0) + cost
        return self.is_spent(client)

    def is_spent(self, client: str) -> bool:
        """Whether the client's share of this turn is spent, or the client rests."""
        return self._spent.get(client, 0) >= SHARE or (bool(self._rest_until) and self._rests(client))

    def rest(self, client: str, seconds: float) -> None:
        """Let what waits for a turn of this client wait for so long at least."""
        now = asyncio.get_running_loop().time()
        self._rest_until = {client: until for client, until in self._rest_until.items() if until > now}
        self._rest_until[client] = max(now, self._rest_until.get(client, now)) + seconds

    def _rests(self, client: str) -> bool:
        until = self._rest_until.get(client)
        if until is None or until > asyncio.get_running_loop().time():
            return until is not None
        del self._rest_until[client]
        return False

    def call(self, client: str, cost: int, work: Callable[[], None]) -> None:
        """Do `work` now, or in a later turn if the client's share of this one is spent. `work` must not raise."""
        if client in self._waiting or self.is_spent(client):
            self.call_later(client, cost, work)
        else:
            self.spend(client, cost)
            work()

    def call_later(self, client: str, cost: int, work: Callable[[], None]) -> None:
        """Do `work` in one of the client's later turns. `work` must not raise."""
        self._waiting.setdefault(client, deque()).append(partial(self._do, client, cost, work))
        self._schedule()

    async def next(self, client: str) -> None:
        """Wait for one of the client's later turns, which begins with the cost of a command."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.call_later(client, COMMAND, lambda: None if future.done() else future.set_result(None))
        await future

    def _do(self, client: str, cost: int, work: Callable[[], None]) -> None:
        self.spend(client, cost)
        work()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        """Begin a turn: what waits goes first."""
        self._scheduled = False
        if self._after_rest is not None:
            self._after_rest.cancel()
        self._spent = {client: min(spent - SHARE, _LONGEST_DEBT) for client, spent in self._spent.items() if spent > SHARE}
        for client, waiting in list(self._waiting.items()):
            while waiting and not self.is_spent(client):
                waiting.popleft()()
            if not waiting:
                del self._waiting[client]
        if any(client not in self._rest_until for client in self._waiting):
            self._schedule()
        elif self._waiting:
            first = min(self._rest_until[client] for client in self._waiting)
            self._after_rest = asyncio.get_running_loop().call_at(first, self._schedule)
