"""Sessions that were just read: each for half a minute, never beyond its end, and none of a user who logged in or out."""

from __future__ import annotations

from datetime import timedelta

import pytest

from mailbridge.console.session_cache import SessionCache
from mailbridge.store.console_interface import ConsoleSession
from tests.factories import NOW


def a_session(hash: str, user: str = "dana", hours: float = 12.0) -> ConsoleSession:
    expires_at = NOW + timedelta(hours=hours)
    return ConsoleSession(hash, f"ses_{hash}", user, "digest", NOW, expires_at, "127.0.0.1", "browser")


@pytest.mark.parametrize(
    ("hours", "shared", "seconds", "known"),
    [
        (12.0, False, 0, True),
        (12.0, False, 29, True),
        (12.0, False, 30, False),
        (0.001, False, 4, False),
        (12.0, True, 1, True),
        (12.0, True, 2, False),
    ],
)
def test_a_session_is_known_for_half_a_minute_and_not_beyond_its_end(
    hours: float, shared: bool, seconds: int, known: bool
) -> None:
    cache = SessionCache()
    cache.put(a_session("a", hours=hours), NOW, shared=shared)
    assert (cache.get("a", NOW + timedelta(seconds=seconds)) is not None) is known
    assert cache.get("b", NOW) is None


def test_those_of_one_user_are_forgotten() -> None:
    cache = SessionCache()
    for hash, user in (("a", "dana"), ("b", "dana"), ("c", "erez")):
        cache.put(a_session(hash, user), NOW, shared=False)
    cache.forget("dana")
    assert [cache.get(hash, NOW) is not None for hash in "abc"] == [False, False, True]


def test_it_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailbridge.console.session_cache._MOST", 3)
    cache = SessionCache()
    for number in range(10):
        cache.put(a_session(str(number)), NOW, shared=False)
    assert [number for number in range(10) if cache.get(str(number), NOW)] == [7, 8, 9]
