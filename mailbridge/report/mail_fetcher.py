"""The first step of the pipeline: which mails are new, and their bytes, in batches that the server can deliver."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mailbridge.errors import MailboxError
from mailbridge.model import Cursor
from mailbridge.report.imap_connection import Connection
from mailbridge.report.imap_refusal import patience
from mailbridge.report.imap_responses import BATCH, FIRST_BYTES, FetchedMail

# The mails that may be from MyFax, for UID SEARCH (RFC 3501 section 6.4.4).
FAX_MAILS = 'OR HEADER X-Fax-Status "" HEADER X-Fax-Sender ""'
# A mail that made so many fetches of it alone fail is reported and passed over.
TRIES = 5


@dataclass(frozen=True, slots=True)
class Batch:
    """The mails of some UIDs. A mail that was expunged meanwhile is missing.

    `undeliverable` says that the server failed to deliver the one mail of `uids`, time and again.
    """

    uids: Sequence[int]
    mails: Sequence[FetchedMail] = ()
    undeliverable: bool = False


class MailFetcher:
    """Fetches the mails of one folder. `max_mail` is the longest one, in bytes, that is fetched whole.

    Where a fetch fails, the next batch is smaller, until the mail at fault stands alone; then batches grow again. A server that
    asks for patience is asked again later, as often as it takes. Every method raises MailboxError when the connection is of no
    more use.
    """

    def __init__(self, max_mail: int) -> None:
        self._max_mail = max_mail
        self._size = BATCH
        # Failed fetches of one mail, by its UID and whether all of it was requested.
        self._failures = Counter[tuple[int, bool]]()

    def reset_uids(self) -> None:
        """Drop the counts of failures: the UIDs name other mails now."""
        self._failures.clear()

    async def search(self, connection: Connection, cursor: Cursor) -> list[int]:
        """Return the UIDs above the cursor."""
        # `n:*` includes the last mail even when its UID is below n (RFC 3501 section 6.4.8).
        found = await connection.search(f"UID {cursor.last_uid + 1}:*")
        return [uid for uid in found if uid > cursor.last_uid]

    async def fetch_announced(self, connection: Connection, cursor: Cursor) -> Batch | None:
        """Fetch what an EXISTS announced, without a SEARCH for its UIDs. None where only smaller batches may succeed."""
        if self._size < BATCH:
            return None
        mails = await self._fetch(connection, range(cursor.last_uid + 1, cursor.last_uid + 1 + BATCH))
        return None if mails is None else Batch([mail.uid for mail in mails], mails)

    async def fetch(self, connection: Connection, uids: Sequence[int]) -> Batch:
        """Fetch the first of these mails, as many as the server can deliver now."""
        while self._failures[uids[0], False] < TRIES:
            chosen = uids[: self._size]
            mails = await self._fetch(connection, chosen)
            if mails is not None:
                return Batch(chosen, mails)
        return Batch(uids[:1], undeliverable=True)

    async def complete(self, connection: Connection, mail: FetchedMail) -> FetchedMail | None:
        """Return the whole mail, or the mail with the fault for which its rest is missing. None if it was expunged meanwhile."""
        if mail.size > self._max_mail:
            return replace(mail, fault=f"the mail is too large ({mail.size} bytes)")
        if mail.whole:
            return mail
        if self._failures[mail.uid, True] >= TRIES:
            return replace(mail, fault="the mail server cannot return the whole mail")
        found = await self._fetch(connection, [mail.uid], first=None)
        return found[0] if found else None

    async def _fetch(
        self, connection: Connection, uids: Sequence[int], first: int | None = FIRST_BYTES
    ) -> list[FetchedMail] | None:
        """Fetch mails. None where the server refused several and is still there: Exchange does for one that it cannot convert."""
        try:
            mails = await connection.fetch(uids, first=first)
        except MailboxError as error:
            if patience(error) is not None:  # the server is busy, which says nothing about these mails
                raise
            self._size = max(1, len(uids) // 10)
            if len(uids) > 1 and not connection.lost:
                return None
            if len(uids) == 1:
                self._failures[uids[0], first is None] += 1
            raise
        self._size = min(BATCH, 2 * self._size)
        return mails
