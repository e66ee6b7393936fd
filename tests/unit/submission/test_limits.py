"""The limits of one SMTP session: commands, failed logins, size and speed of DATA."""

from __future__ import annotations

import pytest

from mailbridge.submission.limits import CommandLimits, DataLimits, LoginDelays, SessionEnded


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


def test_a_login_is_owed_its_delay_until_it_has_passed_or_was_waited_for() -> None:
    delays = LoginDelays()
    delays.failed("a", 10.0)
    assert (delays.owed("a", 10.1) > 0, delays.owed("a", 10.2), delays.owed("b", 10.1)) == (True, 0.0, 0.0)
    delays.failed("a", 20.0)
    delays.waited("a", 10.0)
    assert delays.owed("a", 20.1) > 0  # it waited for the answer before
    delays.waited("a", 20.0)
    assert delays.owed("a", 20.1) == 0
    assert delays.failed("a", 21.0) == 0.8


@pytest.mark.parametrize(
    ("command", "code", "excess", "at"),
    [
        ("NOOP", "250", "commands without a mail", 100),
        ("WHAT", "500", "bad commands", 10),
        ("RCPT", "550", "rejected senders and recipients", 20),
        ("MAIL", "530", "rejected senders and recipients", 20),
        ("RCPT", "250", "recipients", 1100),
        ("RCPT", "452", "recipients", 1100),
    ],
)
def test_commands_without_a_mail_are_limited(command: str, code: str, excess: str, at: int) -> None:
    limits = CommandLimits(max_recipients=100)
    assert [limits.count(command, code) for _ in range(at)] == [None] * (at - 1) + [excess]
    limits.mail_answered()
    assert limits.count(command, code) is None
