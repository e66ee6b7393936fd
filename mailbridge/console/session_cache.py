"""Sessions that were read from the store a moment ago: an open page asks every few seconds, and the store has other work."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Final

from mailbridge.store.console_interface import ConsoleSession

# What ends a session also takes it from here. This is for one that ends while a reload replaces the console and its cache, and
# for one that another node ends.
_KEPT: Final = timedelta(seconds=30)
_KEPT_OF_SHARED: Final = timedelta(seconds=2)
_MOST: Final = 500


class SessionCache:
    """Sessions by the hash of their token, each for half a minute at most, or 2 s where other nodes may end it."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, tuple[ConsoleSession, datetime]] = OrderedDict()

    def get(self, hash: str, now: datetime) -> ConsoleSession | None:
        """Return a session that has not expired; None if it is not known here."""
        session, until = self._sessions.get(hash, (None, now))
        if session is None or session.expires_at <= now or now >= until:
            return None
        return session

    def put(self, session: ConsoleSession, now: datetime, *, shared: bool) -> None:
        """Remember a session that the store has; `shared` is whether other nodes use the store."""
        self._sessions[session.hash] = (session, now + (_KEPT_OF_SHARED if shared else _KEPT))
        self._sessions.move_to_end(session.hash)
        if len(self._sessions) > _MOST:
            self._sessions.popitem(last=False)

    def forget(self, user: str) -> None:
        """Forget the sessions of a user, one of which has begun or ended."""
        for hash in [hash for hash, (session, _) in self._sessions.items() if session.user == user]:
            del self._sessions[hash]
