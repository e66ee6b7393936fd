"""Writes the mail of a due notice: reads the original from the spool, and the document that it carries."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from mailbridge import log
from mailbridge.errors import MailbridgeError, NotFound
from mailbridge.model import Document, Fax, received_documents
from mailbridge.notice.compose import Attachment, Letterhead, Mail, mail
from mailbridge.notice.confirmation import confirmation_text
from mailbridge.notice.dsn import compose_dsn
from mailbridge.notice.original import MAX_HEADER, Original, header_of
from mailbridge.page.confirmation_text import ConfirmationText
from mailbridge.store.notice_records import DueNotice
from mailbridge.store.spool import Spool

# Makes a confirmation as PDF, with the first page of a document. Raises MailbridgeError.
Confirm = Callable[[ConfirmationText, Document | None, str], Awaitable[bytes]]
# Kinds with a confirmation, and how many one mail carries.
_CONFIRMED = ("delivered", "failed")
_MOST_CONFIRMATIONS = 20


class NoticeWriter:
    """Writes mails. `confirm` makes confirmations, None where none are wanted; `return_limit` is in bytes."""

    def __init__(
        self, letterhead: Letterhead, spool: Spool, clock: Callable[[], datetime], return_limit: int, confirm: Confirm | None
    ) -> None:
        self._letterhead, self._spool, self._clock = letterhead, spool, clock
        self._return_limit, self._confirm = return_limit, confirm

    async def write(self, due: DueNotice, eight_bit: bool, *, short: bool = False) -> Mail | None:
        """Return the mail of a notice, or None if it would answer an automatic reply. Raises OSError.

        A `short` one has no files, and of the mail that it is about only the header.
        """
        attachments: tuple[Attachment, ...] | None = None
        if self._form(due) == "mail" and not short:
            attachments = (*await self._documents(due), *await self._confirmations(due))
        return await asyncio.to_thread(self._compose, due, attachments, eight_bit, short)

    def _compose(self, due: DueNotice, attachments: tuple[Attachment, ...] | None, eight_bit: bool, short: bool) -> Mail | None:
        """Read the original and compose the mail: blocking, in one thread."""
        original, now = self._original(due, short), self._clock()
        if original.is_automatic_reply:
            log.notice_not_sent(due.delivery.id, reason="the mail is an automatic reply", fax=due.event.fax_id)
            return None
        if self._form(due) == "dsn":
            return compose_dsn(due, self._letterhead, original, now, eight_bit=eight_bit)
        return mail(due, self._letterhead, original, now, attachments)

    def _form(self, due: DueNotice) -> Any:
        """Return `dsn` or `mail`: without its envelope a DSN would have nothing to report."""
        return (due.delivery.notice or {})["form"] if due.envelope is not None else "mail"

    def _original(self, due: DueNotice, short: bool) -> Original:
        """Read the mail that a notice is about, or only its header; empty once it was deleted."""
        envelope = due.envelope
        if envelope is None:
            return Original()
        whole = self._form(due) == "dsn" and not short and envelope.size <= self._return_limit
        try:
            with io.BufferedReader(self._spool.open(envelope.path)) as file:
                content = file.read(envelope.size if whole else min(envelope.size, 2 * MAX_HEADER))
        except (OSError, NotFound):
            return Original()
        return Original(header=header_of(content), whole=content if whole else None)

    async def _documents(self, due: DueNotice) -> list[Attachment]:
        """Return the documents of a received fax; none once they were deleted."""
        if (due.delivery.notice or {})["kind"] != "received":
            return []
        stored = [one for one in received_documents(due.event.data) if one.get("path")]
        return [
            Attachment(
                filename=one.get("filename") or "fax.pdf",
                content_type=one.get("content_type") or "",
                content=await asyncio.to_thread(_read, self._spool, one["path"]),
            )
            for one in stored
        ]

    async def _confirmations(self, due: DueNotice) -> list[Attachment]:
        if self._confirm is None or (due.delivery.notice or {})["kind"] not in _CONFIRMED:
            return []
        made = []
        for fax in list(due.faxes.values())[:_MOST_CONFIRMATIONS]:
            try:
                content = await confirmation_of_fax(fax, self._letterhead, self._confirm)
            except MailbridgeError as error:  # the notice is more important
                log.confirmation_not_made(fax.id, error=str(error))
            else:
                made.append(Attachment(filename=f"{fax.id}.pdf", content_type="application/pdf", content=content))
        return made


async def confirmation_of_fax(fax: Fax, letterhead: Letterhead, confirm: Confirm) -> bytes:
    """Return the confirmation of a fax. One that takes long delays those of the same user, or client, alone."""
    owner = f"user {fax.user}" if fax.user is not None else fax.client or ""
    return await confirm(confirmation_text(fax, letterhead), next(iter(fax.documents), None), owner)


def _read(spool: Spool, path: str) -> bytes:
    with spool.open(path) as file:
        return file.readall()
