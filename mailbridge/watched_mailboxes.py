"""What this daemon knows of the mailboxes: those that it watches, and those that another node watches."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from mailbridge.background import Background
from mailbridge.report.watcher import Watcher
from mailbridge.store.node import Member


class WatchedMailboxes:
    """The mailboxes of the configuration, by name. `member` is this daemon as a node, where several share the database."""

    def __init__(self, background: Background, member: Member | None) -> None:
        self._background, self._member = background, member
        self._contacts: dict[str, datetime] = {}  # by mailbox: its last contact with another node
        if member is not None:
            member.facts = self.facts

    def facts(self) -> dict[str, Any]:
        """Return what other nodes should know about the mailboxes that this one watches, by their leases."""
        found = {}
        for lease, watcher in self._background.leased(Watcher):
            if self._member is not None and self._member.has(lease):
                last = watcher.last_contact
                found[lease] = {"connected": watcher.connected, "last_contact": None if last is None else last.isoformat()}
        return found

    def connected(self) -> dict[str, bool]:
        """Return whether mail that arrives now in each mailbox would be seen now, by this node or another one."""
        return {watcher.name: bool(self._fact(lease, watcher)[0]) for lease, watcher in self._background.leased(Watcher)}

    def last_contacts(self) -> Mapping[str, datetime | None]:
        """Return when the server of each mailbox last answered, None if it has not."""
        return {watcher.name: self._fact(lease, watcher)[1] for lease, watcher in self._background.leased(Watcher)}

    def _fact(self, lease: str, watcher: Watcher) -> tuple[bool, datetime | None]:
        mine = self._member is None or self._member.has(lease)
        facts = None if self._member is None or mine else self._member.known_of(lease)
        if facts is not None and facts["last_contact"] is not None:
            self._contacts[watcher.name] = datetime.fromisoformat(facts["last_contact"])
        # While the lease passes from one node to another, what was known before still holds.
        contacts = [at for at in (self._contacts.get(watcher.name), watcher.last_contact) if at is not None]
        connected = watcher.connected if mine else facts is not None and facts["connected"]
        return connected, max(contacts, default=None)
