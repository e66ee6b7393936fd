"""A daemon among several that share one database: what a transaction must know about its node, and what a node does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol

# What a node lets the others know about the services that it runs, as JSON: by the name of their lease.
Facts = Mapping[str, Any]
# Seconds after which a commit that was not answered (Undecided) has come about, or never will.
UNSETTLED: Final = 120.0


class NodeRow(NamedTuple):
    """A node as others see it. `alive` is whether its heartbeat is recent, `leases` what it does alone."""

    id: str
    name: str
    version: str
    started_at: datetime
    seen_at: datetime
    alive: bool
    leases: tuple[str, ...]


class Node(Protocol):
    """One running daemon among those that share a PostgreSQL database."""

    @property
    def id(self) -> str:
        """nod_…, a new one at each start."""

    def check_lease(self) -> None:
        """Raise StoreUnavailable if others may think that this node has ended, since it could not say in time that it works."""


class Leases(Protocol):
    """The leases of one node. Nothing here blocks."""

    def want(self, name: str, changed: Callable[[], None]) -> None:
        """Take a lease as soon as no other node that works has it. `changed` is called in another thread when `has` may differ.

        Each call needs a `give_back`.
        """

    def give_back(self, name: str) -> None:
        """Give a lease back, unless it is wanted by another call of `want`, so that another node can take it at once."""

    def has(self, name: str) -> bool:
        """Return whether this node has the lease, and no other can have taken it."""

    def has_others(self) -> bool:
        """Return whether other nodes work, which could take a lease."""


class Member(Node, Leases, Protocol):
    """This daemon's node, as the daemon uses it."""

    facts: Callable[[], Facts]

    def now(self) -> datetime:
        """Return the database's time."""

    def known_of(self, name: str) -> Any:
        """Return the fact that the node with this lease lets others know; None if there is no such node or fact."""
