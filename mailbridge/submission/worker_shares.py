"""Shares of the workers: whose mail is read next, so that a client whose mails take long delays nobody but itself. Pure.

- Clients take turns, however many mails each of them sends.
- One client never holds all workers: one is left for the next client.
- Clients whose mails took long lately share one worker, and one whose mail ran out of time rests before its next mail is read.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_SLOW: Final = 1.0  # seconds for one mail; most take milliseconds
_QUICK: Final = 0.1
# A slow mail makes its client slow for so many times the seconds that it took.
_SLOW_FOR: Final = 10.0
# Seconds that a client rests after a mail that ran out of time; twice as long after the next one.
_FIRST_REST, _LONGEST_REST = 5.0, 60.0
_FORGOTTEN_AFTER: Final = 900.0
_MAX_CLIENTS: Final = 10_000


class _Record:
    """What is known of a client's mails: when the last one ended, how long it took, and how many have run out of time."""

    __slots__ = ("at", "out_of_time", "rests_until", "seconds", "slow_until")

    def __init__(self) -> None:
        self.at = self.slow_until = self.rests_until = 0.0
        self.seconds = _QUICK
        self.out_of_time = 0


class WorkerShares(Generic[T]):
    """Mails that wait, by client. Times are seconds of a clock that is never set."""

    def __init__(self, workers: int) -> None:
        self._most = max(1, workers - 1)
        self._waiting: dict[str, deque[T]] = {}
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def add(self, client: str, mail: T) -> None:
        """Add a mail that waits."""
        self._waiting.setdefault(client, deque()).append(mail)

    def add_first(self, client: str, mails: Sequence[T]) -> None:
        """Add mails that were taken and not begun, before those that wait."""
        if mails:
            self._waiting.setdefault(client, deque()).extendleft(reversed(mails))

    def __bool__(self) -> bool:
        """Whether a mail waits."""
        return bool(self._waiting)

    def remove_all(self) -> list[T]:
        """Return every mail that waits, and forget them."""
        mails = [mail for waiting in self._waiting.values() for mail in waiting]
        self._waiting.clear()
        return mails

    def next(self, held: Sequence[str], now: float) -> tuple[str, T] | None:
        """Return the client and mail for a worker that is free; `held` are the clients of those that are not, one for each."""
        slow_held = any(self._is_slow(client, now) for client in held)
        for client in self._waiting:
            is_slow = self._is_slow(client, now)
            if self._rest(client, now) or (slow_held if is_slow else held.count(client) >= self._most):
                continue
            return client, self._take(client)
        return None

    def next_behind(self, client: str) -> T | None:
        """Return a mail to be read behind one of the same client, if that is quick and nobody else waits."""
        record = self._records.get(client)
        if record is None or record.seconds >= _QUICK or list(self._waiting) != [client]:
            return None
        return self._take(client)

    def seconds_until_rested(self, now: float) -> float | None:
        """Return when a client that rests may have its next mail read, None if none waits."""
        rests = [rest for client in self._waiting if (rest := self._rest(client, now))]
        return min(rests, default=None)

    def ended(self, client: str, seconds: float, now: float, *, out_of_time: bool) -> None:
        """Note that a mail was read within so many seconds, or ran out of time."""
        record = self._records.pop(client, None) or _Record()
        if now - record.at > _FORGOTTEN_AFTER:
            record = _Record()
        record.at, record.seconds = now, seconds
        if seconds >= _SLOW or out_of_time:
            record.slow_until = now + _SLOW_FOR * seconds
        if out_of_time:
            record.rests_until = now + min(_FIRST_REST * 2**record.out_of_time, _LONGEST_REST)
            record.out_of_time = min(record.out_of_time + 1, 10)
        self._records[client] = record
        if len(self._records) > _MAX_CLIENTS:
            self._records.popitem(last=False)

    def _take(self, client: str) -> T:
        """Take the client's first mail; the client goes behind the others."""
        waiting = self._waiting.pop(client)
        mail = waiting.popleft()
        if waiting:
            self._waiting[client] = waiting
        return mail

    def _is_slow(self, client: str, now: float) -> bool:
        record = self._records.get(client)
        return record is not None and now < record.slow_until

    def _rest(self, client: str, now: float) -> float:
        record = self._records.get(client)
        return max(0.0, record.rests_until - now) if record is not None else 0.0
