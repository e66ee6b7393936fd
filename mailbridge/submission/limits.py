"""Limits of the SMTP service: connections, failed logins, and the size and speed of DATA. Pure."""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass

MAX_BAD_COMMANDS = 10  # of one session, since its last mail
MAX_FAILED_LOGINS = 3  # of one session

# A failed login is answered after 0.2 s, the next one from that address after twice as long, up to 10 s.
_FIRST_DELAY, _MAX_DELAY = 0.2, 10.0
_DELAYS_END_AFTER = 900.0
_MAX_ADDRESSES = 10_000
# A mail over the limit is read to its end, so that the client gets the 552, but no more bytes beyond the limit than this.
_MAX_EXCESS = 1_000_000
# RFC 5321 section 4.5.3.2 gives a client minutes for each chunk; one slower than this (bytes a second) only blocks a connection.
_MIN_SPEED = 512
_MAX_DURATION = 7200.0


class SessionEnded(Exception):
    """The session must end; the text is its last reply, a 421."""


class ConnectionLimits:
    """Counts connections by client address."""

    def __init__(self, maximum: int, maximum_per_client: int) -> None:
        self._maximum, self._maximum_per_client = maximum, maximum_per_client
        self._open: Counter[str] = Counter()
        self._total = 0

    def acquire(self, client: str) -> bool:
        """Count one more connection; False, uncounted, where there are too many in all or from this client."""
        if self._total >= self._maximum or self._open[client] >= self._maximum_per_client:
            return False
        self._total += 1
        self._open[client] += 1
        return True

    def release(self, client: str) -> None:
        """Undo one `acquire` that returned True."""
        self._total -= 1
        self._open[client] -= 1
        if not self._open[client]:
            del self._open[client]


class LoginDelays:
    """Slows down guessing of passwords, by client address. Times are seconds of any clock that is never set."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def failed(self, client: str, now: float) -> float:
        """Count a failed login; return the seconds to wait before it is answered. Forgotten after 15 minutes without one."""
        count, last = self._failures.pop(client, (0, now))
        count = count + 1 if now - last < _DELAYS_END_AFTER else 1
        self._failures[client] = (count, now)
        if len(self._failures) > _MAX_ADDRESSES:
            self._failures.popitem(last=False)
        return float(min(_FIRST_DELAY * 2 ** min(count - 1, 16), _MAX_DELAY))


@dataclass(frozen=True, slots=True, kw_only=True)
class DataLimits:
    """Limits of one mail's DATA: `max_size` in bytes, `idle_timeout` in seconds."""

    max_size: int
    idle_timeout: float

    def check_progress(self, size: int, elapsed: float) -> None:
        """Check a mail that has not ended after `size` bytes and `elapsed` seconds. Raises SessionEnded."""
        if size > self.max_size + _MAX_EXCESS:
            raise SessionEnded("421 4.3.4 The mail is far larger than the limit; closing connection")
        if elapsed > min(self.idle_timeout + size / _MIN_SPEED, _MAX_DURATION):
            raise SessionEnded("421 4.4.2 The data arrives too slowly; closing connection")
