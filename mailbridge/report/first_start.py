"""The very first start on a mailbox: which of its mails are old, and where reading begins."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from mailbridge.errors import MailboxError
from mailbridge.model import Cursor
from mailbridge.report.imap_connection import Connection
from mailbridge.report.imap_refusal import patience
from mailbridge.report.imap_responses import BATCH, FetchedMail, Folder
from mailbridge.report.mail_fetcher import FAX_MAILS
from mailbridge.report.parser import digest, has_fax_field, parse
from mailbridge.report.watcher_options import WatcherOptions
from mailbridge.runtime import Runtime

# Where a search finds no fax mail, this many of the newest mails are looked at.
LOOKED_AT = 20_000
# Enough to know a fax mail, and little to send.
FAX_FIELDS = "HEADER.FIELDS (X-Fax-Status X-Fax-Sender)"


class FirstStart:
    """Decides what is old in a mailbox that has no cursor yet. Raises MailboxError and StoreUnavailable."""

    def __init__(self, options: WatcherOptions, runtime: Runtime) -> None:
        self._options, self._runtime = options, runtime

    async def cursor(self, connection: Connection, folder: Folder, old_before: datetime | None) -> Cursor:
        """Store and return the first cursor: every mail up to it is old, and is never reported.

        With `catch_up` none is old. `old_before` is when the daemon started, if connecting failed at first: a mail written since
        then is not old. It is None where every mail was there before.
        """
        last = 0
        if not self._options.catch_up:
            last = folder.uidnext - 1 if folder.uidnext is not None else max(await connection.search("ALL"), default=0)
            last = await self._record_old_mails(connection, last, old_before)
        # Also at 0, for a mailbox to catch up with: the next start is not the first any more.
        start = Cursor(uidvalidity=folder.uidvalidity, last_uid=last)
        name, path = self._options.name, self._options.folder
        await self._runtime.store.run(lambda tx: tx.mailboxes.save_cursor(name, path, start))
        return start

    async def _record_old_mails(self, connection: Connection, last: int, old_before: datetime | None) -> int:
        """Record the old fax mails up to UID `last` as processed; return the UID up to which every mail is old.

        So they stay old when the server numbers its mails anew.
        """
        uids = await self._fax_mails(connection, last)
        for start in range(0, len(uids), BATCH):
            mails = await connection.fetch(uids[start : start + BATCH], part="HEADER")
            digests = {mail.uid: name for mail in mails if (name := digest(mail)) is not None}
            new = [mail.uid for mail in mails if mail.uid in digests and self._written_since(mail, old_before)]
            last = min([last, *(uid - 1 for uid in new)])
            await self._mark_processed([name for uid, name in digests.items() if uid not in new])
        return last

    async def _fax_mails(self, connection: Connection, last: int) -> list[int]:
        """Return the UIDs up to `last` of the mails that may be from MyFax.

        Not every server can search headers: one refuses it, another finds nothing (Stalwart, Yahoo), a third everything. So in a
        folder that is not empty, nothing is not believed: then the mails themselves are looked at, the newest LOOKED_AT of them.
        """
        try:
            found = [uid for uid in await connection.search(FAX_MAILS) if uid <= last]
        except MailboxError as error:
            if connection.lost or patience(error) is not None:
                raise
            found = []
        if found or last == 0:
            return found
        uids = [uid for uid in await connection.search("ALL") if uid <= last][-LOOKED_AT:]
        for start in range(0, len(uids), BATCH):
            mails = await connection.fetch(uids[start : start + BATCH], part=FAX_FIELDS)
            found += [mail.uid for mail in mails if has_fax_field(mail)]
        return found

    def _written_since(self, mail: FetchedMail, moment: datetime | None) -> bool:
        if moment is None:
            return False
        date = parse(mail, self._options.zone).report.date
        return date is not None and date >= moment

    async def _mark_processed(self, digests: Sequence[str]) -> None:
        now, name = self._runtime.clock(), self._options.name
        await self._runtime.store.run(lambda tx: [tx.mailboxes.mark_processed(name, digest, now) for digest in digests])
