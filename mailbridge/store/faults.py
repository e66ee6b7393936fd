"""What the error of a database means for a transaction. Each database has a module of its own that knows its errors."""

from __future__ import annotations

from typing import Protocol

from sqlalchemy.exc import DBAPIError

from mailbridge.errors import StoreUnavailable


class Faults(Protocol):
    """The errors of one kind of database."""

    def unavailable(self, error: DBAPIError | OSError, *, committing: bool) -> StoreUnavailable:
        """Return the error for transactions that failed: Undecided if they may have become durable.

        `committing` is whether all their statements had been run, and the commit had begun.
        """

    def is_rivalry(self, error: DBAPIError | OSError) -> bool:
        """Whether another connection was in the way, so that the same transactions can be run again at once."""

    def is_gone(self, error: DBAPIError | OSError) -> bool:
        """Whether the server cannot be reached, so that whoever waits would wait for nothing."""
