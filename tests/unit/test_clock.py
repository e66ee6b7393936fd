"""Clock: how it follows the system's clock, and when it accepts a jump."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from mailbridge.clock import Clock

BEGIN = datetime(2026, 1, 4, 9, tzinfo=UTC)


class Machine:
    """Both clocks of a machine: `steady` in seconds, and the system's, which was set by `set_by`."""

    def __init__(self) -> None:
        self.steady, self.set_by = 100.0, timedelta()
        self.clock = Clock(lambda: self.steady, lambda: BEGIN + timedelta(seconds=self.steady - 100) + self.set_by)

    def passes(self, seconds: float) -> datetime:
        self.steady += seconds
        return self.clock()


def test_clock_follows_a_system_clock_that_is_slewed() -> None:
    machine = Machine()
    for _ in range(10):
        machine.set_by += timedelta(seconds=10)
        assert machine.passes(60) == BEGIN + timedelta(seconds=machine.steady - 100) + machine.set_by
        assert not machine.clock.jump


def test_a_jump_is_not_visible_before_it_is_accepted() -> None:
    for jump in (timedelta(days=1), timedelta(hours=-1)):
        machine = Machine()
        machine.set_by = jump
        assert machine.passes(5) == BEGIN + timedelta(seconds=5)
        assert machine.clock.jump == jump
        machine.clock.accept_jump(machine.clock.jump)
        assert machine.passes(5) == BEGIN + timedelta(seconds=10) + jump
        assert not machine.clock.jump


def test_a_second_jump_before_the_first_is_accepted_stays_pending() -> None:
    machine = Machine()
    machine.set_by = timedelta(days=1)
    first = machine.clock.jump
    machine.set_by = timedelta(days=2)
    machine.clock.accept_jump(first)
    assert machine.clock.jump == timedelta(days=1)
    assert machine.passes(1) == BEGIN + timedelta(days=1, seconds=1)


def test_a_clock_set_during_a_reading_counts_as_a_jump() -> None:
    readings = iter([BEGIN, BEGIN, BEGIN + timedelta(hours=1), BEGIN + timedelta(hours=1)])
    clock = Clock(lambda: 100.0, lambda: next(readings))
    assert [clock(), clock()] == [BEGIN, BEGIN]
    assert clock.jump == timedelta(hours=1)
