"""Retry schedules: growth, limits, and jitter."""

from __future__ import annotations

import itertools

import pytest

from mailbridge import retry

MIDDLE = 0.5


def test_backoff_doubles_up_to_the_slowest() -> None:
    assert [retry.backoff(n, 1, 10, MIDDLE) for n in range(1, 7)] == pytest.approx([1, 2, 4, 8, 10, 10])


def test_backoff_of_many_failures_does_not_overflow() -> None:
    assert retry.backoff(100_000, 1, 300, 0.999) == 300


def test_upload_delays_grow_to_five_minutes() -> None:
    assert [retry.upload_delay(n, MIDDLE) for n in (1, 2, 3, 4, 5, 99)] == pytest.approx([2, 10, 30, 60, 300, 300])


def test_poll_delays_grow_from_first_to_slowest() -> None:
    delays = [retry.poll_delay(polls, 5, 300, MIDDLE) for polls in range(20)]
    assert delays[0] == pytest.approx(5)
    assert delays == sorted(delays)
    assert delays[-1] == 300
    assert all(1.5 <= later / sooner <= 2 for sooner, later in itertools.pairwise(delays[:7]))


def test_webhook_delays_follow_the_published_schedule_and_end() -> None:
    hours = [(retry.webhook_delay(n, 0) or 0) / 3600 for n in range(10)]
    assert hours == pytest.approx([0, 5 / 3600, 5 / 60, 0.5, 2, 5, 10, 14, 20, 24])
    assert retry.webhook_delay(10, 0) is None


def test_reconnect_delays_grow_from_one_second_to_five_minutes() -> None:
    assert retry.reconnect_delay(1, MIDDLE) == pytest.approx(1)
    assert retry.reconnect_delay(50, MIDDLE) == 300


@pytest.mark.parametrize("jitter", [0.0, 0.3, 0.999])
def test_jitter_moves_a_delay_by_no_more_than_a_fifth(jitter: float) -> None:
    assert 8 <= retry.upload_delay(2, jitter) <= 12
    assert 5 <= (retry.webhook_delay(1, jitter) or 0) <= 5.5
