"""Who may come in at all: how many connections there are, and how often an address guessed a password wrong."""

from __future__ import annotations

from collections import Counter, OrderedDict

# A wrong password's answer waits 0.2 s, then twice as long each time, at most this long.
_FIRST_DELAY, _LONGEST_DELAY = 0.2, 10.0
_FORGIVEN_AFTER = 900.0
_MOST_REMEMBERED = 10_000


class ConnectionLimits:
    """Counts connections and failed logins by client address. Times are seconds of the event loop's clock."""

    def __init__(self, most: int, most_per_client: int) -> None:
        self._most, self._most_per_client = most, most_per_client
        self._inside: Counter[str] = Counter()
        self._total = 0
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def acquire(self, client: str) -> bool:
        """Count one more connection; False, uncounted, when there are too many in all or from this client."""
        if self._total >= self._most or self._inside[client] >= self._most_per_client:
            return False
        self._total += 1
        self._inside[client] += 1
        return True

    def release(self, client: str) -> None:
        """Undo one `enter` that returned True."""
        self._total -= 1
        self._inside[client] -= 1
        if not self._inside[client]:
            del self._inside[client]

    def failed(self, client: str, now: float) -> float:
        """Note a wrong password; return the seconds that its answer waits. After 15 minutes without one they begin anew."""
        count, last = self._failures.pop(client, (0, now))
        count = count + 1 if now - last < _FORGIVEN_AFTER else 1
        self._failures[client] = (count, now)
        if len(self._failures) > _MOST_REMEMBERED:
            self._failures.popitem(last=False)
        return float(min(_FIRST_DELAY * 2 ** min(count - 1, 16), _LONGEST_DELAY))
