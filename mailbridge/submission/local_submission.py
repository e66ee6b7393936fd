"""Mails that `mailbridge send` submits on this machine: checked and stored as by SMTP, without a session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from mailbridge.errors import ControlError, Refused
from mailbridge.store.spool import NewMail
from mailbridge.submission.acceptance import Acceptance
from mailbridge.submission.admission import Admission
from mailbridge.submission.mail_transaction import MailTransaction


class LocalSubmission:
    """Accepts mails of at most `max_size` bytes to numbers at `domain`, one of the gateway's."""

    def __init__(self, admission: Admission, acceptance: Acceptance, domain: str, max_size: int) -> None:
        self._admission, self._acceptance, self._domain, self._max_size = admission, acceptance, domain, max_size

    async def send(self, *, numbers: Sequence[str], sender: str, body: AsyncIterator[bytes]) -> dict[str, Any]:
        """Queue one fax for each number or contact, and return the reply of SMTP. Raises ControlError, StoreUnavailable."""
        try:
            transaction = MailTransaction(sender=sender)
            for number in numbers:
                self._add(transaction, number)
            file = self._acceptance.create_file(transaction)
            await self._spool(file, body)
            # A command that is interrupted cancels this coroutine, but not what makes the mail durable.
            return {"reply": await asyncio.shield(self._acceptance.accept(transaction, file))}
        except Refused as refusal:
            # The command line shows the sentence without the two codes of SMTP.
            raise ControlError(refusal.reply.split(" ", 2)[2]) from None

    def _add(self, transaction: MailTransaction, number: str) -> None:
        already = len(transaction.recipients)
        self._admission.add_recipient(transaction, f"{number}@{self._domain}")
        if len(transaction.recipients) > already + 1:
            # `send` prints one fax, and with --wait follows one.
            raise ControlError(f"{number} is a list of several numbers; send a mail to it, or send to its contacts one by one")

    async def _spool(self, file: NewMail, body: AsyncIterator[bytes]) -> None:
        try:
            async for chunk in body:
                if file.size + len(chunk) > self._max_size:
                    raise Refused(f"552 5.3.4 The documents are larger than the limit of {self._max_size} bytes")
                await asyncio.to_thread(file.write, chunk)
        except BaseException:
            file.abort()
            raise
