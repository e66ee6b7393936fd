"""The watch over one mailbox: connect, take what waits, IDLE, and again for ever. Nothing that a server or mail does ends it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

from mailbridge import log
from mailbridge.config import Mailbox
from mailbridge.errors import MailboxError, MailbridgeError
from mailbridge.model import Cursor, ErrorCode
from mailbridge.report import parser
from mailbridge.report.imap_connection import MAX_LITERAL, Connection
from mailbridge.report.imap_login import log_in
from mailbridge.report.imap_responses import BATCH, Folder
from mailbridge.report.mail_fetcher import FAX_MAILS, Reader
from mailbridge.report.oauth import Tokens
from mailbridge.report.recorder import Recorder
from mailbridge.retry import reconnect_delay
from mailbridge.store.interface import Store, Transaction
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
# A server that ends its connection with the access token is connected to at once, unless it does so time and again.
TOKEN_SECONDS = 1.0


class Watcher:
    """Watches one mailbox. `connected` tells whether mail that arrives now would be seen now.

    At the very first start only mails that arrive from then on are taken, unless `catch_up`. `tokens` log in where there is no
    password. `ask_first` and `asked` see `Recorder`; `dnsfunc` see `trust.is_trusted`; `timeout` is the seconds of a server's
    silence that end a connection.
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
        tokens: Tokens | None = None,
        ask_first: frozenset[ErrorCode] = frozenset(),
        asked: dict[str, datetime] | None = None,
        tls: ssl.SSLContext | None = None,
        dnsfunc: Callable[..., Any] | None = None,
        timeout: float = 30.0,
        idle: float = IDLE_SECONDS,
        max_mail: int = MAX_LITERAL,
    ) -> None:
        self.name, self.connected = name, False
        self._mailbox, self._store, self._clock, self._random = mailbox, store, clock, random
        self._catch_up, self._tls, self._tokens = catch_up, tls, tokens
        self._zone, self._started = zone, clock()
        self._timeout, self._idle, self._max_mail = timeout, idle, max_mail
        exclusive, asked = mailbox.trust == "none", asked if asked is not None else {}
        taker = Recorder(name, account, mailbox.folder, region, ask_first, exclusive, asked)
        self._reader = Reader(mailbox, taker, store, spool, clock, zone, dnsfunc, max_mail)
        self._failures, self._told_down, self._up_at = 0, False, 0.0

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            try:
                await self._watch()
            except Exception as error:  # whatever it was, the mailbox is watched again after a while
                held = asyncio.get_running_loop().time() - self._up_at if self.connected else 0.0
                self.connected = False
                if held >= TOKEN_SECONDS and self._tokens is not None and self._tokens.ended:
                    continue
                self._failures = 1 if held >= STABLE_SECONDS else self._failures + 1
                await self._down(error)
                await asyncio.sleep(reconnect_delay(self._failures, self._random()))
            finally:
                self.connected = False

    async def _watch(self) -> None:
        """One connection, from its beginning to the error that ends it."""
        box = self._mailbox
        connection = await log_in(box, self._tokens, tls=self._tls, timeout=self._timeout, max_literal=self._max_mail)
        try:
            folder = await connection.select(box.folder)
            cursor = await self._begin(connection, folder)
            cursor = await self._reader.take_waiting(connection, cursor)
            await self._up()
            while True:
                await self._listen(connection)
                cursor = await self._reader.take_new(connection, cursor)
        finally:
            connection.close()

    async def _listen(self, connection: Connection) -> None:
        """Return when there may be new mail. An EXISTS that came between two commands counts as well."""
        turn = min(self._idle, FIRST_IDLE_SECONDS)
        while not connection.exists_received:
            await connection.wait_for_exists(turn)
            if not connection.exists_received:
                await connection.noop()
            turn = min(self._idle, turn * IDLE_FACTOR)

    async def _begin(self, connection: Connection, folder: Folder) -> Cursor:
        """Return where to read on: the stored cursor, the end at the first start, the beginning when the UIDs are new."""
        stored = await self._store.run(lambda tx: tx.mailboxes.cursor(self.name, self._mailbox.folder))
        # A mailbox restored from a backup may count again from below the cursor without saying so.
        if stored is not None and stored.uidvalidity == folder.uidvalidity and stored.last_uid < (folder.uidnext or 2**32):
            return stored
        self._reader.forget()
        if stored is not None:
            return Cursor(uidvalidity=folder.uidvalidity, last_uid=0)
        last = 0
        if not self._catch_up:
            last = folder.uidnext - 1 if folder.uidnext is not None else max(await connection.search("ALL"), default=0)
            last = await self._note_old(connection, last)
        # Also at the beginning of a mailbox to catch up with: the next start is not the first any more.
        start = Cursor(uidvalidity=folder.uidvalidity, last_uid=last)
        await self._store.run(lambda tx: tx.mailboxes.save_cursor(self.name, self._mailbox.folder, start))
        return start

    async def _note_old(self, connection: Connection, last: int) -> int:
        """Note the old fax mails as handled, so that they stay old when the server numbers its mails anew.

        Returns up to which UID all are old: where connecting failed at first, what was written since the start is not.
        """
        since = self._started.replace(microsecond=0) if self._failures else None
        try:
            found = await connection.search(FAX_MAILS)
        except MailboxError:  # a server that cannot search headers: look at all of them
            found = await connection.search("ALL")
        uids = [uid for uid in found if uid <= last]
        for begin in range(0, len(uids), BATCH):
            mails = await connection.fetch(uids[begin : begin + BATCH], part="HEADER")
            read = {mail.uid: told for mail in mails if (told := parser.parse(mail.content, mail.size, self._zone)) is not None}
            dates = {uid: told.report.date for uid, told in read.items()}
            new = [uid for uid, date in dates.items() if since is not None and date is not None and date >= since]
            last = min([last, *(uid - 1 for uid in new)])
            digests = [told.digest for uid, told in read.items() if uid not in new]
            now = self._clock()

            def note(tx: Transaction, digests: list[str] = digests, now: datetime = now) -> None:
                for name in digests:
                    tx.mailboxes.mark_processed(self.name, name, now)

            await self._store.run(note)
        return last

    async def _up(self) -> None:
        self.connected, self._up_at = True, asyncio.get_running_loop().time()
        log.mailbox_up(self.name)
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
                log.store_unavailable(self.name, error=str(unstored))

    async def _tell(self, type_: Literal["mailbox.down", "mailbox.up"], error: str | None) -> None:
        """Raise an event; that it is up, only where it was told to be down, be it before a restart."""
        down, now = type_ == "mailbox.down", self._clock()

        def tell(tx: Transaction) -> None:
            if tx.conditions.set(f"mailbox {self.name} is down", on=down) or down:
                tx.events.emit(type_, {"mailbox": self.name, "error": error}, now)

        await self._store.run(tell)
