"""What the console needs of drafts (`submission.drafts`): mails that are checked as by SMTP, and shown before they are sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol

from mailbridge.model import Document, Fax
from mailbridge.store.interface import Transaction


class Draft(Protocol):
    """One mail that waits for its person."""

    @property
    def key(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def account(self) -> str: ...
    @property
    def documents(self) -> tuple[Document, ...]: ...
    @property
    def passed_over(self) -> tuple[str, ...]: ...
    @property
    def numbers(self) -> Sequence[str]: ...
    @property
    def pages(self) -> int | None: ...
    @property
    def send_at(self) -> datetime | None: ...
    @property
    def fax_id(self) -> str | None: ...


class Drafts(Protocol):
    """The drafts of all users. Methods raise Refused, with the reply of SMTP, and StoreUnavailable."""

    def begin(self, user: str, client: str, sender: str) -> Any:
        """Begin a mail, to be passed to the next two methods."""

    async def add_recipient(self, transaction: Any, written: str) -> None:
        """Add a number or a contact."""

    async def create(self, transaction: Any, write: Callable[[Callable[[bytes], None]], None]) -> Draft:
        """Keep a mail as a draft; `write` writes its bytes, in a thread."""

    async def find(self, key: str, user: str) -> Draft | None:
        """Return this user's draft, also one that was sent; None if there is none, or none any more."""

    async def send(self, key: str, user: str) -> str | None:
        """Send a draft once; return the id of its first fax, None if there is no such draft any more."""

    def check_again(self, tx: Transaction, fax: Fax) -> None:
        """Check whether the user of an earlier fax may send it again now."""

    async def drop(self, key: str, user: str) -> None:
        """Delete a draft that was not sent."""
