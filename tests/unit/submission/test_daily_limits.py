"""Daily limits: counted in memory, read from the store once a day, and begun anew at midnight of the configured zone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mailbridge.config import User
from mailbridge.errors import Refused
from mailbridge.runtime import Runtime
from mailbridge.submission.daily_limits import DailyLimits
from mailbridge.submission.password import UNKNOWN_USER

USERS = {
    "anna": User.model_validate({"password_hash": UNKNOWN_USER, "daily_limit": 3}),
    "free": User.model_validate({"password_hash": UNKNOWN_USER}),
}


class Day:
    """A clock, and a store in which each user has sent `stored` faxes; `asked` has every question to it."""

    def __init__(self) -> None:
        self.now, self.stored = datetime(2026, 1, 4, 20, 0, tzinfo=UTC), 1
        self.asked: list[tuple[str, datetime]] = []
        submissions = SimpleNamespace(count_faxes=self._count)
        self.tx = cast(Any, SimpleNamespace(submissions=submissions))
        self.limits = DailyLimits(USERS, "Asia/Jerusalem", cast(Runtime, SimpleNamespace(store=self, clock=lambda: self.now)))

    def _count(self, user: str, since: datetime) -> int:
        self.asked.append((user, since))
        return self.stored

    async def run(self, work: Callable[[Any], int]) -> int:
        return work(self.tx)

    def load(self, user: str) -> None:
        asyncio.run(self.limits.load(user))


def test_count_is_read_from_the_store_at_the_first_login_of_a_day() -> None:
    day = Day()
    day.load("anna")
    day.load("anna")
    assert day.asked == [("anna", datetime(2026, 1, 3, 22, 0, tzinfo=UTC))]  # midnight in Jerusalem
    day.now = datetime(2026, 1, 4, 22, 30, tzinfo=UTC)
    day.load("anna")
    assert day.asked[1:] == [("anna", datetime(2026, 1, 4, 22, 0, tzinfo=UTC))]


def test_user_without_a_limit_is_not_counted_in_the_store() -> None:
    day = Day()
    day.load("free")
    day.limits.check("free", 1000)
    day.limits.check_stored(day.tx, "free", 1000)
    day.limits.check(None, 1000)
    assert day.asked == []


def test_limit_is_reached_by_what_was_sent_and_ends_at_midnight() -> None:
    day = Day()
    day.load("anna")
    day.limits.add("anna", 1)
    day.limits.check("anna", 1)
    with pytest.raises(Refused, match=r"^452 4\.7\.1 "):
        day.limits.check("anna", 2)
    day.now = datetime(2026, 1, 4, 22, 0, tzinfo=UTC)
    day.limits.check("anna", 3)


def test_count_in_the_store_decides_in_the_transaction() -> None:
    day = Day()
    day.limits.check_stored(day.tx, "anna", 2)
    day.stored = 2
    with pytest.raises(Refused, match=r"^452 4\.7\.1 "):
        day.limits.check_stored(day.tx, "anna", 2)
