"""The daily limits of users: how many faxes each has sent since midnight.

The counts are in memory, so that RCPT is answered without the store, and are read from the store at a user's first login of the
day. They may be behind where several sessions of a user send at once, so the store's own count decides before the 250.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from mailbridge.config import User
from mailbridge.runtime import Runtime
from mailbridge.store.interface import Transaction
from mailbridge.submission import policy


class DailyLimits:
    """Counts the faxes of `users` by day in `timezone`. A user of None, without a login, has no limit."""

    def __init__(self, users: Mapping[str, User], timezone: str, runtime: Runtime) -> None:
        self._users, self._zone, self._runtime = users, ZoneInfo(timezone), runtime
        self._day: date | None = None
        self._sent: Counter[str] = Counter()

    async def load(self, name: str) -> None:
        """Read a user's count from the store, where it is needed and not known. Raises StoreUnavailable."""
        if self._users[name].daily_limit is None or name in self._sent_today():
            return
        midnight = self._midnight()
        sent = await self._runtime.store.run(lambda tx: tx.submissions.count_faxes(name, midnight))
        self._sent_today().setdefault(name, sent)

    def check(self, name: str | None, more: int) -> None:
        """Check `more` faxes against the count in memory. Raises Refused (452 4.7.1)."""
        if name is not None:
            policy.check_daily(self._users[name].daily_limit, lambda: self._sent_today()[name], more)

    def check_stored(self, tx: Transaction, name: str | None, more: int) -> None:
        """Check `more` faxes against the count in the store, in a transaction. Raises Refused (452 4.7.1)."""
        if name is not None:
            midnight = self._midnight()
            policy.check_daily(self._users[name].daily_limit, lambda: tx.submissions.count_faxes(name, midnight), more)

    def add(self, name: str | None, faxes: int) -> None:
        """Count faxes that are stored."""
        if name is not None:
            self._sent_today()[name] += faxes

    def _today(self) -> date:
        return self._runtime.clock().astimezone(self._zone).date()

    def _midnight(self) -> datetime:
        return datetime.combine(self._today(), time(), self._zone)

    def _sent_today(self) -> Counter[str]:
        today = self._today()
        if today != self._day:
            self._day, self._sent = today, Counter()
        return self._sent
