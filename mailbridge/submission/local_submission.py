"""A mail handed over on this machine, by `mailbridge send`: the same way into the store as by SMTP, without a session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from mailbridge.errors import ControlError, Refused
from mailbridge.submission.acceptance import Acceptance, Draft


class LocalSubmission:
    """Takes mails of at most `max_size` bytes for numbers at `domain`, one of the gateway's own."""

    def __init__(self, acceptance: Acceptance, domain: str, max_size: int) -> None:
        self._acceptance, self._domain, self._max_size = acceptance, domain, max_size

    async def send(self, *, numbers: Sequence[str], sender: str, body: AsyncIterator[bytes]) -> dict[str, Any]:
        """Queue one fax for each number or contact, and return the reply of SMTP. Raises ControlError, StoreUnavailable."""
        try:
            draft = Draft(sender=sender)
            for count, number in enumerate(numbers, 1):
                self._acceptance.admit_recipient(draft, f"{number}@{self._domain}", None, None)
                if len(draft.recipients) > count:
                    # `send` prints one fax, and with --wait follows one.
                    raise ControlError(
                        f"{number} is a list of several numbers; send a mail to it, or send to its contacts one by one"
                    )
            return {"reply": await self._take(draft, body)}
        except Refused as refusal:
            # A person at a prompt needs no codes of SMTP.
            raise ControlError(refusal.reply.split(" ", 2)[2]) from None

    async def _take(self, draft: Draft, body: AsyncIterator[bytes]) -> str:
        file = self._acceptance.open(draft)
        try:
            async for chunk in body:
                if file.size + len(chunk) > self._max_size:
                    raise Refused(f"552 5.3.4 The documents are larger than the {self._max_size} bytes that are taken here")
                await asyncio.to_thread(file.write, chunk)
        except BaseException:
            file.abort()
            raise
        return await asyncio.shield(self._acceptance.accept(draft, file))
