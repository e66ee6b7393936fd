"""Retry schedules: attempt number and randomness in, seconds out. Pure; `jitter` is always a number in [0, 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_MINUTE: Final = 60.0
_HOUR: Final = 3600.0

# Seconds. The last one repeats: MyFax may be down for a night, and only its expiry ends a fax.
UPLOAD: Final = (2.0, 10.0, 30.0, _MINUTE, 5 * _MINUTE)

# Seconds before each attempt, the first being immediate: the schedule that Standard Webhooks 1.0 recommends.
WEBHOOK: Final = (
    0.0,
    5.0,
    5 * _MINUTE,
    30 * _MINUTE,
    2 * _HOUR,
    5 * _HOUR,
    10 * _HOUR,
    14 * _HOUR,
    20 * _HOUR,
    24 * _HOUR,
)

# Seconds before each attempt of a notice, five days in all: as long as mail servers keep trying (RFC 5321 section 4.5.4.1).
NOTICE: Final = (
    0.0,
    1 * _MINUTE,
    5 * _MINUTE,
    15 * _MINUTE,
    30 * _MINUTE,
    _HOUR,
    2 * _HOUR,
    4 * _HOUR,
    8 * _HOUR,
    12 * _HOUR,
    20 * _HOUR,
    24 * _HOUR,
    24 * _HOUR,
    24 * _HOUR,
)

POLL_FACTOR: Final = 1.6
RECONNECT_FIRST: Final = 1.0
RECONNECT_SLOWEST: Final = 5 * _MINUTE
# Servers lock an account, or ban an address, after some wrong passwords in a quarter of an hour.
LOGIN_FIRST: Final = 5 * _MINUTE
LOGIN_SLOWEST: Final = 30 * _MINUTE


def _spread(delay: float, jitter: float, by: float) -> float:
    """Return `delay` changed by at most the fraction `by`, down or up."""
    return delay * (1 - by + 2 * by * jitter)


def backoff(attempt: int, first: float, slowest: float, jitter: float, *, factor: float = 2.0) -> float:
    """Return the seconds to wait after `attempt` failures (1 or more): `first`, growing by `factor` up to `slowest`.

    The delay is spread by a fifth either way, but never exceeds `slowest`.
    """
    delay = first
    for _ in range(max(0, attempt - 1)):
        if delay >= slowest:
            break
        delay *= factor
    return min(slowest, _spread(min(delay, slowest), jitter, 0.2))


def upload_delay(attempt: int, jitter: float) -> float:
    """Return the seconds before the next upload of a fax that MyFax did not take, after `attempt` attempts (1 or more)."""
    return _spread(UPLOAD[min(max(attempt, 1), len(UPLOAD)) - 1], jitter, 0.2)


def poll_delay(polls: int, first: float, slowest: float, jitter: float) -> float:
    """Return the seconds before the next status poll, after `polls` of them (0 before the first)."""
    return backoff(polls + 1, first, slowest, jitter, factor=POLL_FACTOR)


def webhook_delay(attempts: int, jitter: float) -> float | None:
    """Return the seconds before the next attempt of a delivery, after `attempts` attempts; None if there is no further one.

    The jitter only adds (up to a tenth), so that no attempt is earlier than the schedule says.
    """
    return _next(WEBHOOK, attempts, jitter)


def notice_delay(attempts: int, jitter: float) -> float | None:
    """Return the seconds before the next attempt of a notice, as `webhook_delay` does."""
    return _next(NOTICE, attempts, jitter)


def _next(schedule: Sequence[float], attempts: int, jitter: float) -> float | None:
    if attempts >= len(schedule):
        return None
    return schedule[max(attempts, 0)] * (1 + 0.1 * jitter)


def reconnect_delay(failures: int, jitter: float) -> float:
    """Return the seconds before the next connection to a mailbox, after `failures` failures in a row (1 or more)."""
    return backoff(failures, RECONNECT_FIRST, RECONNECT_SLOWEST, jitter)


def login_delay(refusals: int) -> float:
    """Return the seconds before the next login to a mailbox, after `refusals` refused ones in a row (1 or more)."""
    return min(LOGIN_FIRST * 2.0 ** min(refusals - 1, 10), LOGIN_SLOWEST)
