"""The pipeline that every mail passes: fetch, parse, verify, spool, record; then mark.

    step    module             makes         what it touches
    fetch   mail_fetcher       FetchedMail   the IMAP server
    parse   parser             ParsedMail    nothing
    verify  trust              VerifiedMail  the DNS, for DKIM
    spool   received_document  SpooledMail   the spool, if a fax came with its document
    record  recorder           -             the store: one transaction for a group of mails, with the cursor
    mark    mail_marker        -             the IMAP server

The order is what makes it safe; `watcher` says why, crash by crash.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ParamSpec, TypeVar

from mailbridge.errors import MailboxError, StoreUnavailable
from mailbridge.model import Cursor
from mailbridge.report.imap_connection import Connection
from mailbridge.report.imap_responses import FIRST_BYTES, FetchedMail
from mailbridge.report.mail_fetcher import Batch, MailFetcher
from mailbridge.report.mail_marker import MailMarker
from mailbridge.report.parser import has_fax_field, parse
from mailbridge.report.received_document import SpooledMail, spool_mail
from mailbridge.report.recorder import Recorder
from mailbridge.report.trust import verify
from mailbridge.report.watcher_options import WatcherOptions
from mailbridge.runtime import Runtime

# Mails in one transaction when many wait. A commit for each would take ten times as long, and a longer transaction would delay
# the 250 of an SMTP client.
GROUP = 10

P = ParamSpec("P")
T = TypeVar("T")


class Pipeline:
    """Takes the mails of one folder through every step.

    Raises MailboxError and StoreUnavailable. Then every mail that was not recorded is still above the stored cursor. Anything
    else that goes wrong with a mail ends there: it is recorded as unreadable, and the mails around it are processed.
    """

    def __init__(self, options: WatcherOptions, runtime: Runtime) -> None:
        self._options, self._runtime = options, runtime
        self._fetcher = MailFetcher(options.max_mail)
        self._recorder = Recorder(options, runtime)
        self._marker = MailMarker(options.name, options.mailbox.after)

    def reset_uids(self) -> None:
        """Start anew: the UIDs name other mails now."""
        self._fetcher.reset_uids()
        self._marker.reset_uids()

    async def process_announced(self, connection: Connection, cursor: Cursor) -> Cursor:
        """Process what an EXISTS announced at once, then whatever else waits; return the new cursor."""
        connection.clear_exists()
        batch = await self._fetcher.fetch_announced(connection, cursor)
        if batch is not None:
            cursor = await self._process(connection, batch, cursor)
        return await self.process_waiting(connection, cursor)

    async def process_waiting(self, connection: Connection, cursor: Cursor) -> Cursor:
        """Process every mail above the cursor; return the new cursor."""
        await self._marker.mark(connection)
        while uids := await self._fetcher.search(connection, cursor):
            while uids:
                batch = await self._fetcher.fetch(connection, uids)
                cursor = await self._process(connection, batch, cursor)
                uids = uids[len(batch.uids) :]
        return cursor

    async def _process(self, connection: Connection, batch: Batch, cursor: Cursor) -> Cursor:
        """Process the fax mails of a batch in the order of their UIDs, move the cursor to its last UID, and mark the mails."""
        try:
            if batch.undeliverable:
                why = "the mail server cannot return this mail"
                cursor = await self._record([self._recorder.unreadable(batch.uids[0], cursor, why)], cursor)
            fax_mails = [mail for mail in batch.mails if mail.uid > cursor.last_uid and has_fax_field(mail)]
            for start in range(0, len(fax_mails), GROUP):
                cursor = await self._process_group(connection, fax_mails[start : start + GROUP], cursor)
            if batch.uids and batch.uids[-1] > cursor.last_uid:
                cursor = replace(cursor, last_uid=batch.uids[-1])
                await self._recorder.save_cursor(cursor)
        except (MailboxError, StoreUnavailable):
            await self._marker.mark(connection)
            raise
        await self._marker.mark(connection)
        return cursor

    async def _process_group(self, connection: Connection, mails: Sequence[FetchedMail], cursor: Cursor) -> Cursor:
        """Process mails in one transaction, up to the first that cannot be fetched or spooled now; return the new cursor."""
        spooled: list[SpooledMail] = []
        postponed: Exception | None = None
        for mail in mails:
            try:
                ready = await self._prepare(connection, mail)
            except (MailboxError, StoreUnavailable) as error:  # not the mail's fault: it stays above the cursor
                postponed = error
                break
            except Exception as error:
                why = f"the mail cannot be read ({type(error).__name__})"
                ready = self._recorder.unreadable(mail.uid, cursor, why)
            if ready is not None:
                spooled.append(ready)
        cursor = await self._record(spooled, cursor)
        if postponed is not None:
            raise postponed
        return cursor

    async def _prepare(self, connection: Connection, mail: FetchedMail) -> SpooledMail | None:
        """Take one mail through every step before the record. None if it was expunged meanwhile."""
        whole = await self._fetcher.complete(connection, mail)
        if whole is None:
            return None
        options, long = self._options, len(whole.content) > FIRST_BYTES
        trust, senders = options.mailbox.trust, options.mailbox.from_
        parsed = await _call(long, parse, whole, options.zone, options.addresses)
        verified = await _call(long or trust == "dkim", verify, parsed, trust, senders, options.resolve)
        return await _call(bool(verified.attachments), spool_mail, verified, self._runtime.spool)

    async def _record(self, mails: Sequence[SpooledMail], cursor: Cursor) -> Cursor:
        self._marker.add(await self._recorder.record(mails, cursor))
        return replace(cursor, last_uid=mails[-1].uid) if mails else cursor


async def _call(blocks: bool, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a step in a thread if it blocks for long. For a short mail, the thread would cost more than the step."""
    return await asyncio.to_thread(step, *args, **kwargs) if blocks else step(*args, **kwargs)
