"""What happens to a mail in the mailbox once it is recorded: the setting `after`."""

from __future__ import annotations

from collections.abc import Sequence

from mailbridge import log
from mailbridge.errors import MailboxError
from mailbridge.report.imap_connection import Connection
from mailbridge.report.imap_refusal import patience
from mailbridge.report.imap_responses import BATCH


class MailMarker:
    """Marks recorded mails as `after` says (`keep`, `seen`, `move:FOLDER`), also those whose connection was lost before.

    Nothing depends on it: their events are stored already. Where the server refuses, as for a folder that is missing or full, the
    mails stay as they are, and the log says so. Where it asks for patience, they are marked later.
    """

    def __init__(self, mailbox: str, after: str) -> None:
        self._mailbox, self._after = mailbox, after
        self._uids: list[int] = []

    def add(self, uids: Sequence[int]) -> None:
        """Mark these with the next call of `mark`."""
        if self._after != "keep":
            self._uids += uids

    def reset_uids(self) -> None:
        """Drop the UIDs that wait: they name other mails now."""
        self._uids.clear()

    async def mark(self, connection: Connection) -> None:
        """Mark the mails that wait. Where the connection is lost, the rest waits for the next one."""
        while self._uids and not connection.lost:
            batch = self._uids[:BATCH]
            try:
                await self._mark(connection, batch)
            except MailboxError as error:
                log.mail_not_marked(self._mailbox, error=f"after = {self._after!r}: {error}")
                if connection.lost or patience(error) is not None:
                    return
            del self._uids[: len(batch)]

    async def _mark(self, connection: Connection, uids: Sequence[int]) -> None:
        if self._after == "seen":
            await connection.mark_seen(uids)
        else:
            await connection.move(uids, self._after.removeprefix("move:"))
