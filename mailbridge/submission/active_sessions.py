"""The sessions and commits under way, and how a stopping service waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol

_CLOSING = "421 4.3.2 The gateway is shutting down; please send the mail again in a moment"
# Seconds: a session cuts a client that does not close 5 s after the last reply.
_CLOSED_AFTER = 6.0
_MIN_COMMIT_TIME = 5.0


class _Session(Protocol):
    @property
    def busy(self) -> bool: ...

    def hang_up(self, reply: str) -> None: ...


class ActiveSessions:
    """Knows every open session, and every commit, which outlives a session whose client hangs up."""

    def __init__(self) -> None:
        self._sessions: set[_Session] = set()
        self._commits: set[asyncio.Task[str]] = set()
        self._changed = asyncio.Event()

    def add(self, session: _Session) -> None:
        """Note an open session; one that is known already is counted once."""
        self._sessions.add(session)

    def discard(self, session: _Session) -> None:
        """Note that a session ended."""
        self._sessions.discard(session)
        self._changed.set()

    def mail_answered(self) -> None:
        """Note that a session has answered a mail and is no longer busy."""
        self._changed.set()

    async def commit(self, accept: Coroutine[Any, Any, str]) -> str:
        """Run `accept` to its end, even if the caller is cancelled because its client hung up; return the reply.

        So a mail is either whole in the store or not there at all.
        """
        commit = asyncio.create_task(accept)
        self._commits.add(commit)
        commit.add_done_callback(self._committed)
        return await asyncio.shield(commit)

    def _committed(self, commit: asyncio.Task[str]) -> None:
        self._commits.discard(commit)
        if not commit.cancelled():
            # Where the client hung up, nobody else fetches it, and asyncio would complain.
            commit.exception()

    async def close(self, grace: float) -> None:
        """End every session with 421; one that has a mail under way first gets up to `grace` seconds to finish it."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        while self._close_idle() and await self._wait_for_change(deadline):
            pass
        for session in list(self._sessions):
            session.hang_up(_CLOSING)
        if self._commits:
            # A commit is not cut off: its client may send the mail again, and then finds it accepted or not, never half.
            await asyncio.wait(self._commits, timeout=max(deadline - loop.time(), _MIN_COMMIT_TIME))
        while self._sessions and await self._wait_for_change(loop.time() + _CLOSED_AFTER):
            pass

    def _close_idle(self) -> bool:
        """Close the sessions that have no mail under way; return whether others have."""
        sessions = list(self._sessions)
        for session in sessions:
            if not session.busy:
                session.hang_up(_CLOSING)
        return any(session.busy for session in sessions)

    async def _wait_for_change(self, deadline: float) -> bool:
        """Wait until a session ends or a mail is answered; False at `deadline`."""
        self._changed.clear()
        try:
            async with asyncio.timeout_at(deadline):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True
