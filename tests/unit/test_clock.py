"""The clock without its jumps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from mailbridge.clock import Clock

BEGIN = datetime(2026, 1, 4, 9, tzinfo=UTC)


class Time:
    """Both clocks of a machine: `steady` in seconds, and the system's, which is `set_by` off."""

    def __init__(self) -> None:
        self.steady, self.set_by = 100.0, timedelta()
        self.clock = Clock(lambda: self.steady, lambda: BEGIN + timedelta(seconds=self.steady - 100) + self.set_by)

    def passes(self, seconds: float) -> datetime:
        self.steady += seconds
        return self.clock()


def test_it_follows_the_system_also_where_that_is_slewed() -> None:
    time = Time()
    for _ in range(10):
        time.set_by += timedelta(seconds=10)
        assert time.passes(60) == BEGIN + timedelta(seconds=time.steady - 100) + time.set_by
        assert not time.clock.jump


def test_a_jump_is_not_believed_before_it_is_dealt_with() -> None:
    for jump in (timedelta(days=1), timedelta(hours=-1)):
        time = Time()
        time.set_by = jump
        assert time.passes(5) == BEGIN + timedelta(seconds=5)
        assert time.clock.jump == jump
        time.clock.believe(time.clock.jump)
        assert time.passes(5) == BEGIN + timedelta(seconds=10) + jump
        assert not time.clock.jump


def test_a_second_jump_while_the_first_is_dealt_with_is_one_of_its_own() -> None:
    time = Time()
    time.set_by = timedelta(days=1)
    first = time.clock.jump
    time.set_by = timedelta(days=2)
    time.clock.believe(first)
    assert time.clock.jump == timedelta(days=1)
    assert time.passes(1) == BEGIN + timedelta(days=1, seconds=1)


def test_a_clock_that_is_set_while_it_is_read_is_not_believed() -> None:
    readings = iter([BEGIN, BEGIN, BEGIN + timedelta(hours=1), BEGIN + timedelta(hours=1)])
    clock = Clock(lambda: 100.0, lambda: next(readings))
    assert [clock(), clock()] == [BEGIN, BEGIN]
    assert clock.jump == timedelta(hours=1)
