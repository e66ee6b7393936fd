"""What a transaction must know about the node that runs it, where several nodes share one database."""

from __future__ import annotations

from typing import Protocol


class Node(Protocol):
    """One running daemon among those that share a PostgreSQL database."""

    @property
    def id(self) -> str:
        """nod_…, a new one at each start."""

    def check_lease(self) -> None:
        """Raise StoreUnavailable if others may think that this node has ended, since it could not say in time that it works."""
