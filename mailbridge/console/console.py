"""What the console is built from: the configuration, the store, and what other parts of the daemon do for it."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Protocol
from zoneinfo import ZoneInfo

from mailbridge.config import Config
from mailbridge.console.client_address import TrustedProxies
from mailbridge.console.drafting import Drafts
from mailbridge.console.identity import Identity
from mailbridge.console.part_cache import PartCache
from mailbridge.console.rendering import Templates, shared_templates
from mailbridge.console.search_terms import Names
from mailbridge.console.session_cache import SessionCache
from mailbridge.model import Document, Event
from mailbridge.page.shown_page import ShownPage
from mailbridge.runtime import Runtime
from mailbridge.store.hour_counts import HourCounts


class LogIn(Protocol):
    """Checks a password, as the SMTP service does. Raises Refused: 535 if it is wrong, 454 if it is too soon to check one."""

    async def __call__(self, name: str, password: bytes, client: str, service: str) -> None: ...


class ShowPage(Protocol):
    """Shows page `number` (1 for the first) of a document, `width` pixels wide or less, to a user. Raises StoreUnavailable."""

    async def __call__(self, document: Document, number: int, width: int, viewer: str) -> ShownPage: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TestAnswer:
    """What a webhook's receiver answered to a test event."""

    at: datetime
    milliseconds: int
    status: int | None  # HTTP status; None without an answer
    error: str | None  # what went wrong; None for 2xx
    answer: str | None  # the beginning of the answer's body


@dataclass(frozen=True, slots=True)
class Services:
    """What other parts of the daemon do for the console."""

    log_in: LogIn
    confirmation: Callable[[str], Awaitable[bytes]]  # returns the confirmation of the fax with this id, a PDF
    render_event: Callable[[Event], bytes]  # returns the body of an event as a webhook gets it
    pictures: ShowPage
    drafts: Drafts
    ping: Callable[[str], Awaitable[TestAnswer]]  # sends a test event to the webhook with this name
    mailboxes: Callable[[], Mapping[str, datetime | None]] = dict  # by mailbox: when its server last answered


@dataclass(frozen=True)
class Console:
    """The console of one configuration."""

    config: Config
    runtime: Runtime
    services: Services
    templates: Templates = field(default_factory=shared_templates)
    tests: dict[str, TestAnswer] = field(default_factory=dict)  # the last one of each webhook
    views: dict[tuple[str, str, str], datetime] = field(default_factory=dict)  # by user, client and fax: its pages, looked at
    hours: dict[datetime, HourCounts] = field(default_factory=dict)  # by their start: what has passed does not change
    parts: PartCache = field(default_factory=PartCache)
    sessions: SessionCache = field(default_factory=SessionCache)
    pages: frozenset[str] = frozenset()  # the paths that the navigation may name

    @cached_property
    def zone(self) -> ZoneInfo:
        """The zone of times for people."""
        return ZoneInfo(self.config.timezone)

    @cached_property
    def names(self) -> Names:
        """The contacts."""
        return Names(self.config.directory.numbers)

    @cached_property
    def proxies(self) -> TrustedProxies:
        """The proxies that are believed."""
        return TrustedProxies(self.config.http.proxies)

    def password_digest(self, user: str) -> str | None:
        """Return what a session remembers of the user's password: another password ends it. None if the user cannot log in."""
        known = self.config.users.get(user)
        if known is None or known.password_hash is None:
            return None
        return hashlib.sha256(known.password_hash.encode()).hexdigest()

    def identity(self, user: str, session_id: str | None) -> Identity | None:
        """Return who a user of the configuration is, or None for an unknown user."""
        known = self.config.users.get(user)
        return None if known is None else Identity(user, known.role, known.language, session_id)
