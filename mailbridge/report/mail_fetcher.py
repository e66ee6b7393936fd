"""From a connection to the store: fetch the mails above the cursor, read and judge each, commit them, then mark them."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from mailbridge import log
from mailbridge.config import Mailbox
from mailbridge.errors import MailboxError, StoreUnavailable
from mailbridge.model import Cursor, Report, new_id
from mailbridge.report import parser
from mailbridge.report.imap_connection import Connection
from mailbridge.report.imap_responses import BATCH, FIRST_BYTES, FetchedMail
from mailbridge.report.recorder import Arrival, Recorder, document_told
from mailbridge.report.trust import is_trusted
from mailbridge.store.interface import Store
from mailbridge.store.spool import Spool

# The mails that may be from MyFax, for UID SEARCH.
FAX_MAILS = 'OR HEADER X-Fax-Status "" HEADER X-Fax-Sender ""'
# So many mails share a transaction when many wait: a flush for each would take ten times as long, and a longer transaction
# would make an SMTP client's 250 wait.
GROUP = 10
# A mail that ended so many connections when it alone was asked for is told of and passed over.
TRIES = 5


class Reader:
    """Takes the mails of one mailbox. What is wrong with one mail is told and ends with it.

    Raises MailboxError and StoreUnavailable: then nothing is lost, and what was not taken is still above the cursor.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        taker: Recorder,
        store: Store,
        spool: Spool,
        clock: Callable[[], datetime],
        zone: ZoneInfo,
        dnsfunc: Callable[..., Any] | None,
        max_mail: int,
    ) -> None:
        self._mailbox, self._recorder, self._store, self._spool = mailbox, taker, store, spool
        self._clock, self._zone, self._dnsfunc, self._max_mail = clock, zone, dnsfunc, max_mail
        self._batch, self._refused = BATCH, Counter[tuple[int, bool]]()
        self._unmarked: list[int] = []

    def forget(self) -> None:
        """Forget what was learnt about UIDs; they name other mails now."""
        self._refused.clear()
        self._unmarked.clear()

    async def take_new(self, connection: Connection, cursor: Cursor) -> Cursor:
        """Fetch what an EXISTS told of without asking for its UID first; then make sure that nothing else waits."""
        connection.clear_exists()
        if self._batch == BATCH:
            mails = await self._fetch(connection, range(cursor.last_uid + 1, cursor.last_uid + 1 + BATCH))
            if mails is not None:
                cursor = await self._take_batch(connection, mails, cursor, [mail.uid for mail in mails])
        return await self.take_waiting(connection, cursor)

    async def take_waiting(self, connection: Connection, cursor: Cursor) -> Cursor:
        """Take every mail above the cursor, a batch at a time. One that was expunged in between is passed over."""
        await self._mark(connection, [])
        # `n:*` names the last mail even when its UID is below n (RFC 3501 section 6.4.8).
        while uids := [uid for uid in await connection.search(f"UID {cursor.last_uid + 1}:*") if uid > cursor.last_uid]:
            while uids:
                mails: list[FetchedMail] | None = []
                if self._refused[uids[0], False] >= TRIES:
                    chosen = uids[:1]
                    await self._commit([self._broken(chosen[0], cursor, "the mail server cannot bring this mail")], cursor)
                else:
                    chosen = uids[: self._batch]
                    mails = await self._fetch(connection, chosen)
                if mails is None:
                    continue
                cursor = await self._take_batch(connection, mails, cursor, chosen)
                uids = uids[len(chosen) :]
        return cursor

    async def _fetch(
        self, connection: Connection, uids: Sequence[int], first: int | None = FIRST_BYTES
    ) -> list[FetchedMail] | None:
        """Fetch mails. Where that fails the next batch is smaller, until the mail at fault stands alone.

        None where the server refused many and is still there: Exchange does for the sake of one that it cannot convert.
        """
        try:
            mails = await connection.fetch(uids, first=first)
        except MailboxError:
            self._batch = max(1, len(uids) // 10)
            if len(uids) > 1 and not connection.lost:
                return None
            if len(uids) == 1:
                self._refused[uids[0], first is None] += 1
            raise
        self._batch = min(BATCH, 2 * self._batch)
        return mails

    async def _take_batch(self, connection: Connection, mails: list[FetchedMail], cursor: Cursor, uids: list[int]) -> Cursor:
        """Take the fax mails of a batch, in the order of their UIDs, and move the cursor behind its last UID."""
        ours = [mail for mail in mails if mail.uid > cursor.last_uid and parser.digest(mail.content, mail.size) is not None]
        done: list[int] = []
        try:
            for begin in range(0, len(ours), GROUP):
                cursor = await self._take_group(connection, ours[begin : begin + GROUP], cursor, done)
            if uids and uids[-1] > cursor.last_uid:
                cursor = end = replace(cursor, last_uid=uids[-1])
                await self._store.run(lambda tx: tx.mailboxes.save_cursor(self._recorder.mailbox, self._recorder.folder, end))
        except (MailboxError, StoreUnavailable):
            await self._mark(connection, done)
            raise
        await self._mark(connection, done)
        return cursor

    async def _take_group(self, connection: Connection, mails: list[FetchedMail], cursor: Cursor, done: list[int]) -> Cursor:
        """Take mails in one transaction, up to the first that cannot be brought or stored now; return where the cursor is."""
        arrivals: list[Arrival] = []
        trouble: Exception | None = None
        for mail in mails:
            try:
                arrival = await self._prepare(connection, mail)
            except (MailboxError, StoreUnavailable) as error:  # not the mail's fault: it is taken later
                trouble = error
                break
            except Exception as error:
                arrival = self._broken(mail.uid, cursor, f"the mail cannot be read ({type(error).__name__})")
            if arrival is not None:
                arrivals.append(arrival)
        done += await self._commit(arrivals, cursor)
        if trouble is not None:
            raise trouble
        return replace(cursor, last_uid=arrivals[-1].uid) if arrivals else cursor

    async def _commit(self, arrivals: list[Arrival], cursor: Cursor) -> list[int]:
        """Commit mails together, or where one of them trips us each alone; return the UIDs to mark."""
        if not arrivals:
            return []
        now, cursor = self._clock(), replace(cursor, last_uid=arrivals[-1].uid)
        try:
            fresh = await self._store.run(lambda tx: self._recorder.take(tx, arrivals, cursor, now))
        except StoreUnavailable:  # rolled back, so the next try stores the documents anew
            self._discard(arrivals)
            raise
        except Exception as error:
            if len(arrivals) > 1:
                return [uid for arrival in arrivals for uid in await self._commit([arrival], cursor)]
            self._discard(arrivals)
            if arrivals[0].unread:
                raise
            why = f"the mail cannot be taken ({type(error).__name__})"
            return await self._commit([self._broken(arrivals[0].uid, cursor, why)], cursor)
        self._discard([arrival for arrival in arrivals if arrival.uid not in fresh])
        return [arrival.uid for arrival in arrivals if not arrival.unread]

    def _discard(self, arrivals: list[Arrival]) -> None:
        for document in (arrival.document for arrival in arrivals if arrival.document is not None):
            try:
                self._spool.delete(document["path"])
            except StoreUnavailable as error:
                log.document_not_deleted(self._recorder.mailbox, error=str(error))

    def _broken(self, uid: int, cursor: Cursor, why: str) -> Arrival:
        """A mail of which nothing else can be told, as a broken report. It stays in the mailbox, unread."""
        log.mail_unreadable(self._recorder.mailbox, error=f"UID {uid}: {why}")
        name = hashlib.sha256(f"{cursor.uidvalidity}/{uid}".encode()).hexdigest()
        report = Report(kind="report", defects=(f"{why}; it is UID {uid} in folder {self._mailbox.folder}",))
        return Arrival(uid, report, name, unread=True)

    async def _prepare(self, connection: Connection, mail: FetchedMail) -> Arrival | None:
        """Bring the rest of a longer mail, read it, judge it, store its document. None when it was expunged meanwhile."""
        if mail.size > self._max_mail:
            return self._header_alone(mail, f"the mail is too large ({mail.size} bytes)")
        if not mail.whole:
            if self._refused[mail.uid, True] >= TRIES:
                return self._header_alone(mail, "the mail server cannot bring the whole mail")
            rest = await self._fetch(connection, [mail.uid], first=None)
            if not rest:
                return None
            mail = rest[0]
        quick = len(mail.content) <= FIRST_BYTES
        read = self._read(mail) if quick else await asyncio.to_thread(self._read, mail)
        trusted = not read.report.defects and await self._verify(mail.content)
        fax_id, document = _fax_id(read), None
        if fax_id is not None and read.document is not None:
            document = await asyncio.to_thread(self._keep, fax_id, read.document)
        return Arrival(mail.uid, replace(read.report, trusted=trusted), read.digest, fax_id, document)

    def _read(self, mail: FetchedMail) -> parser.Mail:
        read = parser.parse(mail.content, mail.size, self._zone)
        return read or parser.broken(mail.content, mail.size, "the mail lost its X-Fax headers", self._zone)

    def _header_alone(self, mail: FetchedMail, why: str) -> Arrival:
        read = parser.broken(mail.content, mail.size, why, self._zone)
        return Arrival(mail.uid, read.report, read.digest, _fax_id(read))

    async def _verify(self, content: bytes) -> bool:
        trust, senders = self._mailbox.trust, self._mailbox.from_
        if trust != "dkim" and len(content) <= FIRST_BYTES:
            return is_trusted(content, trust, senders)
        return await asyncio.to_thread(is_trusted, content, trust, senders, self._dnsfunc)

    def _keep(self, fax_id: str, document: parser.Attachment) -> dict[str, Any]:
        path, digest = self._spool.store_received(fax_id, document.content), hashlib.sha256(document.content).hexdigest()
        return document_told(path, digest, len(document.content), document.content_type, document.filename)

    async def _mark(self, connection: Connection, uids: list[int]) -> None:
        """Do what `after` says, also for those whose connection was lost before it was done.

        The events are out by now: a folder that is not there or full is told, and stops nothing.
        """
        after = self._mailbox.after
        self._unmarked += uids if after != "keep" else []
        while self._unmarked and not connection.lost:
            some = self._unmarked[:BATCH]
            try:
                await (connection.mark_seen(some) if after == "seen" else connection.move(some, after.removeprefix("move:")))
            except MailboxError as error:
                log.mail_not_marked(self._recorder.mailbox, error=f"after = {after!r}: {error}")
                if connection.lost:
                    return
            del self._unmarked[: len(some)]


def _fax_id(read: parser.Mail) -> str | None:
    return new_id("fax") if read.report.kind == "incoming" else None
