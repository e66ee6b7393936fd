"""The limits of the SMTP service: connections, failed logins, size and speed of DATA."""

from __future__ import annotations

import pytest

from mailbridge.submission.limits import ConnectionLimits, DataLimits, LoginDelays, SessionEnded


def test_connections_are_limited_in_all_and_for_each_client() -> None:
    limits = ConnectionLimits(3, 2)
    assert [limits.acquire("a"), limits.acquire("a"), limits.acquire("a")] == [True, True, False]
    assert [limits.acquire("b"), limits.acquire("b"), limits.acquire("c")] == [True, False, False]
    limits.release("a")
    assert [limits.acquire("a"), limits.acquire("b")] == [True, False]


def test_login_delays_double_up_to_ten_seconds_and_are_of_one_client() -> None:
    delays = LoginDelays()
    assert [delays.failed("a", second) for second in range(8)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    assert delays.failed("b", 8.0) == 0.2


def test_login_delays_begin_anew_after_fifteen_minutes() -> None:
    delays = LoginDelays()
    delays.failed("a", 0.0)
    assert delays.failed("a", 899.0) == 0.4
    assert delays.failed("a", 899.0 + 900.0) == 0.2


def test_login_delays_remember_a_bounded_number_of_clients() -> None:
    delays = LoginDelays()
    for number in range(10_001):
        delays.failed(str(number), 0.0)
    assert delays.failed("0", 1.0) == 0.2
    assert delays.failed("10000", 1.0) == 0.4


@pytest.mark.parametrize(
    ("size", "elapsed", "code"),
    [
        (1000, 0.0, None),
        (1_001_000, 0.0, None),  # the client still gets its 552
        (1_001_001, 0.0, "421 4.3.4"),
        (0, 300.0, None),
        (0, 301.0, "421 4.4.2"),
        (512 * 100, 400.0, None),
        (512 * 100, 401.0, "421 4.4.2"),
    ],
)
def test_data_far_over_the_limit_or_too_slow_ends_the_session(size: int, elapsed: float, code: str | None) -> None:
    limits = DataLimits(max_size=1000, idle_timeout=300.0)
    if code is None:
        limits.check_progress(size, elapsed)
        return
    with pytest.raises(SessionEnded, match=f"^{code}"):
        limits.check_progress(size, elapsed)


def test_data_never_takes_longer_than_two_hours() -> None:
    limits = DataLimits(max_size=10**9, idle_timeout=300.0)
    limits.check_progress(10**8, 7200.0)
    with pytest.raises(SessionEnded, match=r"^421 4\.4\.2"):
        limits.check_progress(10**8, 7201.0)
