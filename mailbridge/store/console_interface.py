"""The part of a store's interface that the console alone needs (see `store.interface`)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from mailbridge.store.draft_records import DraftRecord


class ConsoleSession(NamedTuple):
    """One login to the console."""

    hash: str  # SHA-256 of the token in the browser's cookie
    id: str  # ses_…
    user: str  # name of a [user.NAME]
    password: str  # SHA-256 of its password_hash at the login
    created_at: datetime
    expires_at: datetime
    client: str  # IP address of the browser
    agent: str  # what the browser calls itself


class DraftRecords(Protocol):
    """Drafts of the console, where several nodes serve it."""

    def add(self, key: str, user: str, record: Mapping[str, Any], now: datetime, oldest: datetime) -> None:
        """Store a draft, and delete those that were made before `oldest`."""

    def get(self, key: str, user: str) -> DraftRecord | None:
        """Return a draft of this user, or None."""

    def mark_sent(self, key: str, fax_id: str) -> None:
        """Record the first fax of a draft."""

    def delete(self, key: str, user: str) -> None:
        """Delete a draft of this user that was not sent."""


class ConsoleSessions(Protocol):
    """Logins to the console."""

    def add(self, session: ConsoleSession, most: int) -> None:
        """Store a login. Those that have expired are deleted, and so are the user's oldest beyond `most`."""

    def get(self, hash: str, now: datetime) -> ConsoleSession | None:
        """Return the login with this hash, or None, also if it has expired."""

    def of_user(self, user: str | None, now: datetime) -> list[ConsoleSession]:
        """Return the logins of a user that have not expired, newest first; None is every user."""

    def end(self, id: str, user: str | None) -> ConsoleSession | None:
        """Delete a login, of this user unless that is None, and return it; None if there is no such login."""
