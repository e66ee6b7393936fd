"""Sessions that were read from the store a moment ago: an open page asks every few seconds, and the store has other work."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Final

from mailbridge.store.console_interface import ConsoleSession

# What ends a session also takes it from here. This is for one that ends while a reload replaces the console and its cache.
_KEPT: Final = timedelta(seconds=30)
_MOST: Final = 500


class SessionCache:
    """Sessions by the hash of their token, each for half a minute at most."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, tuple[ConsoleSession, datetime]] = OrderedDict()

    def get(self, hash: str, now: datetime) -> ConsoleSession | None:
        """Return a session that has not expired; None if it is not known here."""
        session, read_at = self._sessions.get(hash, (None, now))
        if session is None or session.expires_at <= now or now - read_at >= _KEPT:
            return None
        return session

    def put(self, session: ConsoleSession, now: datetime) -> None:
        """Remember a session that the store has."""
        self._sessions[session.hash] = (session, now)
        self._sessions.move_to_end(session.hash)
        if len(self._sessions) > _MOST:
            self._sessions.popitem(last=False)

    def forget(self, user: str) -> None:
        """Forget the sessions of a user, one of which has begun or ended."""
        for hash in [hash for hash, (session, _) in self._sessions.items() if session.user == user]:
            del self._sessions[hash]
