"""What a node knows of a mailbox that it watches, that another node watches, or that passes from one to the other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast

from mailbridge.watched_mailboxes import WatchedMailboxes

NOW = datetime(2026, 11, 27, 9, 0, tzinfo=UTC)


class Watcher:
    name = "office"

    def __init__(self) -> None:
        self.connected = False
        self.last_contact: datetime | None = None


class Background:
    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def leased(self, _: object) -> list[tuple[str, Watcher]]:
        return [("mailbox office", self._watcher)]


class Member:
    """A node: whether it has the lease, and what it knows of the node that has it."""

    def __init__(self) -> None:
        self.mine, self.told = False, cast("dict[str, Any] | None", None)
        self.facts: Any = None

    def has(self, _: str) -> bool:
        return self.mine

    def known_of(self, _: str) -> dict[str, Any] | None:
        return self.told


def test_a_mailbox_that_another_node_watches_is_not_down_and_its_last_contact_is_kept() -> None:
    watcher, member = Watcher(), Member()
    known = WatchedMailboxes(cast(Any, Background(watcher)), cast(Any, member))
    assert (known.connected(), known.last_contacts(), member.facts()) == ({"office": False}, {"office": None}, {})
    member.told = {"connected": True, "last_contact": NOW.isoformat()}
    assert (known.connected(), known.last_contacts()) == ({"office": True}, {"office": NOW})
    member.told = None  # that node has ended
    assert (known.connected(), known.last_contacts()) == ({"office": False}, {"office": NOW})
    member.mine = True  # and this one has not connected yet
    assert (known.connected(), known.last_contacts()) == ({"office": False}, {"office": NOW})
    watcher.connected, watcher.last_contact = True, NOW + timedelta(seconds=9)
    assert (known.connected(), known.last_contacts()) == ({"office": True}, {"office": NOW + timedelta(seconds=9)})
    assert member.facts() == {"mailbox office": {"connected": True, "last_contact": watcher.last_contact.isoformat()}}


def test_with_sqlite_a_mailbox_is_what_its_watcher_says() -> None:
    watcher = Watcher()
    known = WatchedMailboxes(cast(Any, Background(watcher)), None)
    assert (known.connected(), known.last_contacts()) == ({"office": False}, {"office": None})
    watcher.connected, watcher.last_contact = True, NOW
    assert (known.connected(), known.last_contacts()) == ({"office": True}, {"office": NOW})
