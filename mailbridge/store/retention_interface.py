"""The part of a store's interface that deletes what has expired, and keeps an audit of it (see `store.interface`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, NamedTuple, Protocol


class PendingDeletion(NamedTuple):
    """Spooled files that are to be deleted."""

    path: str  # of the mail or received document that they belong to
    files: tuple[str, ...]  # relative to the spool


class AuditLine(NamedTuple):
    """One thing that was deleted, or that a person did."""

    id: str  # aud_…
    at: datetime  # when it was deleted or done
    what: str  # document.deleted, fax.deleted or event.deleted; fax.cancel, document.view, login and so on
    subject: str  # the id of the fax, or else of the event; of a login, the user's name
    number: str | None  # the other side's, E.164
    record: Mapping[str, Any]  # enough to prove what it was: state, times, digests; of what a person did: who, and from where


class Audit(Protocol):
    """Lines about what was deleted, and what people did."""

    def newest(self, subject: str | None = None, number: str | None = None, limit: int = 100) -> list[AuditLine]:
        """Return audit lines, newest first; with `subject` or `number`, only those."""

    def note(self, what: str, subject: str, number: str | None, record: Mapping[str, Any], now: datetime) -> AuditLine:
        """Add a line about what a person did."""


class Retention(Protocol):
    """Deletion of what has expired."""

    def discard_documents(self, before: datetime, now: datetime, limit: int) -> int:
        """Record the files of mails whose faxes were all final at `before` as pending deletions; return of how many faxes.

        From then on each `Document.path` of such a fax is empty. It stops soon after `limit` faxes; 0 means that none is left.
        """

    def discard_received(self, before: datetime, now: datetime, limit: int) -> int:
        """Record documents of events emitted at or before `before` as pending deletions; return how many.

        A document that an unfinished delivery needs is kept.
        """

    def pending_deletions(self, limit: int, after: str = "") -> list[PendingDeletion]:
        """Return pending deletions with a path greater than `after`, sorted by path."""

    def finish_deletions(self, paths: Collection[str], now: datetime) -> list[AuditLine]:
        """Record that the files of these pending deletions are gone; write their audit lines and return them."""

    def delete_faxes(self, before: datetime, now: datetime, limit: int) -> list[AuditLine]:
        """Delete faxes that were final at `before`, with events and deliveries; with a mail's last fax its envelope.

        A fax that still has documents, or an unfinished delivery, is kept. Returns the audit lines.
        """

    def delete_events(self, before: datetime, now: datetime, limit: int) -> list[AuditLine]:
        """Delete events emitted at or before `before` that have no stored fax, no document and no unfinished delivery."""

    def delete_processed_mails(self, before: datetime, limit: int) -> int:
        """Delete the digests of mails processed at or before `before`; return how many."""

    def delete_received_items(self, before: datetime, limit: int) -> int:
        """Delete received items stored at or before `before`; return how many."""

    def known_files(self, paths: Collection[str]) -> set[str]:
        """Return which of these paths belong to a mail, an event's document or a pending deletion."""

    def known_segments(self, segments: Collection[str]) -> set[str]:
        """Return which of these segments have a mail whose documents are not deleted, or a pending deletion."""
