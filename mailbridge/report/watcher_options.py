"""The options of the watcher of one mailbox."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from mailbridge.config import Mailbox
from mailbridge.errors import ErrorCode
from mailbridge.report.imap_connection import MAX_LITERAL
from mailbridge.report.trust import Resolve

# RFC 2177 limits IDLE to half an hour; routers forget a silent connection much sooner.
IDLE_SECONDS = 240.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WatcherOptions:
    """How one mailbox is watched, and what its mails mean. Raises ValueError for a limit that is not above zero."""

    # The mailbox's name and section in the configuration, and the account whose faxes its mails are about.
    name: str
    mailbox: Mailbox
    account: str
    # The time zone of a Date without one, and the region of telephone numbers without a country code.
    zone: ZoneInfo
    region: str = "IL"
    # E-mail addresses of the accounts, in lower case.
    accounts: frozenset[str] = frozenset()
    # At the very first start, also process the mails that are already there.
    catch_up: bool = False
    # Failures that the poller settles, because it may dial again after them.
    poll_first: frozenset[ErrorCode] = frozenset()
    # Tests replace the trusted certificates and the DNS.
    tls: ssl.SSLContext | None = None
    resolve: Resolve | None = None
    # Seconds of a server's silence that end a connection, and the longest IDLE, in seconds.
    timeout: float = 30.0
    idle: float = IDLE_SECONDS
    # Bytes of the longest mail that is fetched whole.
    max_mail: int = MAX_LITERAL

    def __post_init__(self) -> None:
        for name in ("timeout", "idle", "max_mail"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above zero")

    @property
    def addresses(self) -> frozenset[str]:
        """The addresses to which MyFax mails what is ours, in lower case."""
        return self.accounts | {address.lower() for address in (self.mailbox.username, *self.mailbox.addresses)}

    @property
    def folder(self) -> str:
        """The folder that is watched."""
        return self.mailbox.folder
