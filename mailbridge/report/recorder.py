"""The last step of the pipeline: one transaction records mails, moves the cursor, and does what the mails say."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from mailbridge import log
from mailbridge.errors import StoreUnavailable, Undecided
from mailbridge.model import Cursor, Report
from mailbridge.report.received_document import SpooledMail, discard_documents
from mailbridge.report.received_fax_recorder import ReceivedFaxRecorder
from mailbridge.report.report_recorder import ReportRecorder
from mailbridge.report.watcher_options import WatcherOptions
from mailbridge.runtime import Runtime
from mailbridge.store.interface import Transaction


class Recorder:
    """Records the mails of one mailbox."""

    def __init__(self, options: WatcherOptions, runtime: Runtime) -> None:
        self._options, self._runtime = options, runtime
        self._reports = ReportRecorder(options)
        self._received_faxes = ReceivedFaxRecorder(options)

    async def record(self, mails: Sequence[SpooledMail], cursor: Cursor) -> list[int]:
        """Record mails in one transaction; return the UIDs to mark in the mailbox. Raises StoreUnavailable.

        Where one of them makes the transaction fail, each gets a transaction of its own, and that one is recorded as unreadable.
        """
        if not mails:
            return []
        now, cursor = self._runtime.clock(), replace(cursor, last_uid=mails[-1].uid)
        try:
            recorded = await self._runtime.store.run(lambda tx: self.apply(tx, mails, cursor, now))
        except Undecided:  # the events may be there, and name the documents
            raise
        except StoreUnavailable:  # nothing was recorded, and the next try spools the documents again
            await self._discard(mails)
            raise
        except Exception as error:
            if len(mails) > 1:
                return [uid for mail in mails for uid in await self.record([mail], cursor)]
            await self._discard(mails)
            if mails[0].unreadable:
                raise
            why = f"the mail cannot be recorded ({type(error).__name__})"
            return await self.record([self.unreadable(mails[0].uid, cursor, why)], cursor)
        await self._discard([mail for mail in mails if mail.uid not in recorded])
        return [mail.uid for mail in mails if not mail.unreadable]

    async def save_cursor(self, cursor: Cursor) -> None:
        """Move the cursor past mails that are not fax mails."""
        name, folder = self._options.name, self._options.folder
        await self._runtime.store.run(lambda tx: tx.mailboxes.save_cursor(name, folder, cursor))

    def apply(self, tx: Transaction, mails: Sequence[SpooledMail], cursor: Cursor, now: datetime) -> set[int]:
        """Record mails in their order, and move the cursor; return the UIDs of those whose documents are needed.

        A mail that was processed before, under another UID or before a crash, changes nothing.
        """
        mailbox = self._options.name
        tx.mailboxes.save_cursor(mailbox, self._options.folder, cursor)
        new = [mail for mail in mails if tx.mailboxes.mark_processed(mailbox, mail.digest, now)]
        recorded = set()
        for index, mail in enumerate(new):
            moment = now + timedelta(microseconds=index)  # keeps the events in the order of the mails
            if mail.report.kind != "incoming":
                self._reports.record(tx, mail.report, moment)
                recorded.add(mail.uid)
            elif self._received_faxes.record(tx, mail, moment):
                recorded.add(mail.uid)
        return recorded

    def unreadable(self, uid: int, cursor: Cursor, why: str) -> SpooledMail:
        """Return what is recorded for a mail of which nothing else is known: a report with a defect that names the mail."""
        log.mail_unreadable(self._options.name, error=f"UID {uid}: {why}")
        digest = hashlib.sha256(f"{cursor.uidvalidity}/{uid}".encode()).hexdigest()
        report = Report(kind="report", defects=(f"{why}; it is UID {uid} in folder {self._options.folder}",))
        return SpooledMail(uid, report, digest, unreadable=True)

    async def _discard(self, mails: Sequence[SpooledMail]) -> None:
        for mail in mails:
            await discard_documents(self._runtime.spool, mail.documents, self._options.name)
