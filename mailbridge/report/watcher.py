"""The watch over one mailbox: connect, take what waits, IDLE, and again for ever. Nothing that a server or mail does ends it."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from mailbridge import log
from mailbridge.config import Mailbox
from mailbridge.errors import MailboxError, MailbridgeError, StoreUnavailable
from mailbridge.model import Cursor, ErrorCode, Report, new_id
from mailbridge.report import parse
from mailbridge.report.imap import BATCH, FIRST_BYTES, MAX_LITERAL, Connection, Fetched, Folder
from mailbridge.report.take import Arrival, Taker
from mailbridge.report.trust import is_trusted
from mailbridge.retry import reconnect_delay
from mailbridge.store.base import Store
from mailbridge.store.spool import Spool

# Half an hour is the RFC's limit for IDLE (RFC 2177); routers forget a silent connection much sooner.
IDLE_SECONDS = 240.0
# A mail that arrives just before IDLE begins is not announced by every server (pymap waits for the next one): after each
# activity the first IDLE is this short, and the NOOP after it brings what was missed. The next ones grow from there: a mail
# in the gap before one of them waits no longer than the mailbox has been quiet, some times over.
FIRST_IDLE_SECONDS = 0.5
IDLE_FACTOR = 8
# A connection that held this long was a good one: the next failure is again the first.
STABLE_SECONDS = 60.0
# A mail that ended so many connections in a row when it alone was asked for is told of and passed over.
TRIES = 5
_OURS = 'OR HEADER X-Fax-Status "" HEADER X-Fax-Sender ""'


class Watcher:
    """Watches one mailbox. `connected` tells whether mail that arrives now would be seen now.

    At the very first start only mails that arrive from then on are taken, unless `catch_up`. `ask_first` see `take.Taker`;
    `dnsfunc` see `trust.is_trusted`; `timeout` is the seconds of a server's silence that end a connection.
    """

    def __init__(
        self,
        name: str,
        mailbox: Mailbox,
        account: str,
        store: Store,
        spool: Spool,
        clock: Callable[[], datetime],
        random: Callable[[], float],
        *,
        zone: ZoneInfo,
        region: str = "IL",
        catch_up: bool = False,
        ask_first: frozenset[ErrorCode] = frozenset(),
        tls: ssl.SSLContext | None = None,
        dnsfunc: Callable[..., Any] | None = None,
        timeout: float = 30.0,
        idle: float = IDLE_SECONDS,
        max_mail: int = MAX_LITERAL,
    ) -> None:
        self.name, self.connected = name, False
        self._mailbox, self._account, self._store, self._spool = mailbox, account, store, spool
        self._clock, self._random, self._zone = clock, random, zone
        self._catch_up, self._tls, self._dnsfunc = catch_up, tls, dnsfunc
        self._timeout, self._idle, self._max_mail = timeout, idle, max_mail
        self._taker = Taker(name, account, mailbox.folder, region, ask_first)
        self._failures, self._told_down, self._up_at = 0, False, 0.0
        self._batch, self._refused = BATCH, Counter[tuple[int, bool]]()

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            try:
                await self._watch()
            except Exception as error:  # whatever it was, the mailbox is watched again after a while
                held = self.connected and asyncio.get_running_loop().time() - self._up_at >= STABLE_SECONDS
                self.connected = False
                self._failures = 1 if held else self._failures + 1
                await self._down(error)
                await asyncio.sleep(reconnect_delay(self._failures, self._random()))
            finally:
                self.connected = False

    async def _watch(self) -> None:
        """One connection, from its beginning to the error that ends it."""
        box = self._mailbox
        if box.password is None:
            raise MailboxError("this mailbox is to log in with oauth2, which this version cannot do; set a password")
        connection = await Connection.open(
            box.host, box.port, box.tls, context=self._tls, timeout=self._timeout, max_literal=self._max_mail
        )
        try:
            await connection.login(box.username, box.password.get_secret_value())
            folder = await connection.select(box.folder)
            cursor = await self._begin(connection, folder)
            cursor = await self._take_waiting(connection, cursor)
            await self._up()
            while True:
                await self._listen(connection)
                cursor = await self._take_new(connection, cursor)
        finally:
            connection.close()

    async def _listen(self, connection: Connection) -> None:
        """Return when there may be new mail. An EXISTS that came between two commands counts as well."""
        turn = min(self._idle, FIRST_IDLE_SECONDS)
        while not connection.has_news:
            await connection.wait_for_news(turn)
            if not connection.has_news:
                await connection.noop()
            turn = min(self._idle, turn * IDLE_FACTOR)

    async def _begin(self, connection: Connection, folder: Folder) -> Cursor:
        """Return where to read on: the stored cursor, the end at the first start, the beginning when the UIDs are new."""
        stored = await self._store.run(lambda tx: tx.cursor(self.name, self._mailbox.folder))
        # A mailbox restored from a backup may count again from below the cursor without saying so.
        if stored is not None and stored.uidvalidity == folder.uidvalidity and stored.last_uid < (folder.uidnext or 2**32):
            return stored
        self._refused.clear()
        if stored is not None or self._catch_up:
            return Cursor(uidvalidity=folder.uidvalidity, last_uid=0)
        last = folder.uidnext - 1 if folder.uidnext is not None else max(await connection.search("ALL"), default=0)
        start = Cursor(uidvalidity=folder.uidvalidity, last_uid=last)
        await self._note_old(connection, last)
        await self._store.run(lambda tx: tx.advance(self.name, self._mailbox.folder, start))
        return start

    async def _note_old(self, connection: Connection, last: int) -> None:
        """Note the old fax mails as handled, so that they stay old when the server numbers its mails anew."""
        try:
            found = await connection.search(_OURS)
        except MailboxError:  # a server that cannot search headers: look at all of them
            found = await connection.search("ALL")
        uids = [uid for uid in found if uid <= last]
        for begin in range(0, len(uids), BATCH):
            mails = await connection.fetch(uids[begin : begin + BATCH], part="HEADER")
            digests = [name for mail in mails if (name := parse.digest(mail.content, mail.size)) is not None]
            now = self._clock()

            def note(tx: Any, digests: list[str] = digests, now: datetime = now) -> None:
                for name in digests:
                    tx.first_sight(self.name, name, now)

            await self._store.run(note)

    async def _take_new(self, connection: Connection, cursor: Cursor) -> Cursor:
        """Fetch what an EXISTS told of without asking for its UID first; then make sure that nothing else waits."""
        connection.forget_news()
        if self._batch == BATCH:
            mails = await self._fetch(connection, range(cursor.last_uid + 1, cursor.last_uid + 1 + BATCH))
            cursor = await self._take_batch(connection, mails, cursor, [mail.uid for mail in mails])
        return await self._take_waiting(connection, cursor)

    async def _take_waiting(self, connection: Connection, cursor: Cursor) -> Cursor:
        """Take every mail above the cursor, a batch at a time. One that was expunged in between is passed over."""
        # `n:*` names the last mail even when its UID is below n (RFC 3501 section 6.4.8).
        while uids := [uid for uid in await connection.search(f"UID {cursor.last_uid + 1}:*") if uid > cursor.last_uid]:
            while uids:
                chosen, uids = uids[: self._batch], uids[self._batch :]
                if self._refused[chosen[0], False] >= TRIES:
                    chosen, uids = chosen[:1], [*chosen[1:], *uids]
                    mails = []
                    await self._give_up(chosen[0], cursor, "the mail server cannot bring this mail")
                else:
                    mails = await self._fetch(connection, chosen)
                cursor = await self._take_batch(connection, mails, cursor, chosen)
        return cursor

    async def _fetch(self, connection: Connection, uids: Sequence[int], first: int | None = FIRST_BYTES) -> list[Fetched]:
        """Fetch mails. Where that ends the connection the next batch is smaller, until the mail at fault stands alone."""
        try:
            mails = await connection.fetch(uids, first=first)
        except MailboxError:
            self._batch = max(1, len(uids) // 10)
            if len(uids) == 1:
                self._refused[uids[0], first is None] += 1
            raise
        self._batch = min(BATCH, 2 * self._batch)
        return mails

    async def _take_batch(self, connection: Connection, mails: list[Fetched], cursor: Cursor, uids: list[int]) -> Cursor:
        done: list[int] = []
        try:
            for mail in (mail for mail in mails if mail.uid > cursor.last_uid):
                if parse.digest(mail.content, mail.size) is None:
                    continue
                if await self._take(connection, mail, replace(cursor, last_uid=mail.uid)):
                    done.append(mail.uid)
        except MailbridgeError:
            await self._mark(connection, done)
            raise
        if uids and uids[-1] > cursor.last_uid:
            cursor = end = replace(cursor, last_uid=uids[-1])
            await self._store.run(lambda tx: tx.advance(self.name, self._mailbox.folder, end))
        await self._mark(connection, done)
        return cursor

    async def _take(self, connection: Connection, mail: Fetched, cursor: Cursor) -> bool:
        """Take one mail; False where it is not ours to mark: expunged meanwhile, or one that trips us."""
        try:
            arrival = await self._prepare(connection, mail)
            if arrival is not None:
                await self._commit(arrival, cursor)
            return arrival is not None
        except (MailboxError, StoreUnavailable):  # not the mail's fault: it is taken later
            raise
        except Exception as error:  # the mail itself: it is told, and those behind it go on
            await self._give_up(mail.uid, cursor, f"the mail cannot be taken ({type(error).__name__})")
            return False

    async def _give_up(self, uid: int, cursor: Cursor, why: str) -> None:
        """Raise a mail that cannot be taken as a broken report. It stays in the mailbox, unread."""
        log.service_failed(self.name, error=f"UID {uid}: {why}")
        name = hashlib.sha256(f"{cursor.uidvalidity}/{uid}".encode()).hexdigest()
        report = Report(kind="report", defects=(f"{why}; it is UID {uid} in folder {self._mailbox.folder}",))
        await self._commit(Arrival(uid, report, name), replace(cursor, last_uid=uid))

    async def _commit(self, arrival: Arrival, cursor: Cursor) -> None:
        now = self._clock()
        try:
            first = await self._store.run(lambda tx: self._taker.take(tx, arrival, cursor, now))
        except Exception:  # it was rolled back, so the next try stores the document anew; a cancelled wait may yet be committed
            self._discard(arrival)
            raise
        if not first:
            self._discard(arrival)

    def _discard(self, arrival: Arrival) -> None:
        try:
            if arrival.document is not None:
                self._spool.delete(arrival.document["path"])
        except StoreUnavailable as error:
            log.service_failed(self.name, error=str(error))

    async def _prepare(self, connection: Connection, mail: Fetched) -> Arrival | None:
        """Bring the rest of a longer mail, read it, judge it, store its document. None when it was expunged meanwhile."""
        if mail.size > self._max_mail:
            read = parse.broken(mail.content, mail.size, f"the mail is too large ({mail.size} bytes)", self._zone)
            return Arrival(mail.uid, read.report, read.digest, _fax_id(read))
        if not mail.whole:
            if self._refused[mail.uid, True] >= TRIES:
                read = parse.broken(mail.content, mail.size, "the mail server cannot bring the whole mail", self._zone)
                return Arrival(mail.uid, read.report, read.digest, _fax_id(read))
            rest = await self._fetch(connection, [mail.uid], first=None)
            if not rest:
                return None
            mail = rest[0]
        quick = len(mail.content) <= FIRST_BYTES
        read = self._read(mail) if quick else await asyncio.to_thread(self._read, mail)
        trusted = not read.report.defects and await self._judge(mail.content)
        fax_id, document = _fax_id(read), None
        if fax_id is not None and read.document is not None:
            document = await asyncio.to_thread(self._keep, fax_id, read.document)
        return Arrival(mail.uid, replace(read.report, trusted=trusted), read.digest, fax_id, document)

    def _read(self, mail: Fetched) -> parse.Mail:
        read = parse.parse(mail.content, mail.size, self._zone)
        return read or parse.broken(mail.content, mail.size, "the mail lost its X-Fax headers", self._zone)

    async def _judge(self, content: bytes) -> bool:
        trust, senders = self._mailbox.trust, self._mailbox.from_
        if trust != "dkim" and len(content) <= FIRST_BYTES:
            return is_trusted(content, trust, senders)
        return await asyncio.to_thread(is_trusted, content, trust, senders, self._dnsfunc)

    def _keep(self, fax_id: str, document: parse.Attachment) -> dict[str, Any]:
        return {
            "path": self._spool.store_received(fax_id, document.content),
            "sha256": hashlib.sha256(document.content).hexdigest(),
            "size": len(document.content),
            "content_type": document.content_type,
            "filename": document.filename,
            "pages": None,
        }

    async def _mark(self, connection: Connection, uids: list[int]) -> None:
        """Do what `after` says. The events are out by now: a folder that is not there or full is told, and stops nothing."""
        after = self._mailbox.after
        try:
            if uids and after == "seen":
                await connection.seen(uids)
            elif uids and after.startswith("move:"):
                await connection.move(uids, after.removeprefix("move:"))
        except MailboxError as error:
            log.service_failed(self.name, error=f"after = {after!r}: {error}")

    async def _up(self) -> None:
        self.connected, self._up_at = True, asyncio.get_running_loop().time()
        log.mailbox_up(self.name)
        if self._told_down:
            await self._tell("mailbox.up", None)
            self._told_down = False

    async def _down(self, error: Exception) -> None:
        why = str(error) if isinstance(error, MailbridgeError) else f"{type(error).__name__}: {error}"
        log.mailbox_down(self.name, error=why, failures=self._failures)
        if not self._told_down:
            try:
                await self._tell("mailbox.down", why)
                self._told_down = True
            except Exception as unstored:  # the store is away too, and nobody is left to tell
                log.service_failed(self.name, error=str(unstored))

    async def _tell(self, type_: str, error: str | None) -> None:
        now = self._clock()
        await self._store.run(lambda tx: tx.emit(type_, {"mailbox": self.name, "error": error}, now))


def _fax_id(read: parse.Mail) -> str | None:
    return new_id("fax") if read.report.kind == "incoming" else None
