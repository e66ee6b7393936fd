"""Watches one mailbox: connects, processes the mails that wait, waits for more with IDLE, and reconnects. No error ends it.

Why no mail is lost, and none is reported twice

The cursor is the UIDVALIDITY of the folder and the highest UID that is recorded (RFC 3501 section 2.3.1.1). It only moves in the
transaction that records the mails up to it. So a mail is either recorded, or above the cursor and found again. The same
transaction stores a digest of each mail's content, and a mail whose digest is stored changes nothing.

A mail may be found by the EXISTS of IDLE or NOOP, or by the SEARCH above the cursor that follows every fetch and every new
connection. An EXISTS that is missed costs time: the NOOP after each IDLE asks again.

What a crash, or a lost connection, leaves at each instant:

1. Before the transaction. The cursor has not moved: the next connection finds the mail again. A document that was spooled already
   is named by no event, and `store.orphans` deletes it.
2. In the transaction. It happens as a whole or not at all: the fax or the event, the digest, the cursor.
3. After the transaction, before `\\Seen` or MOVE. The mail is recorded and lies below the cursor, so it is not read again. It may
   stay unmarked in the mailbox after a restart; nothing reads the mark.
4. In the MOVE. A mail that was copied but not deleted (without the MOVE extension) stays in both folders; as 3.
5. In the first start. The cursor is stored last, after the digests of the old mails: the next start is the first one again.

When the UIDs are new (another UIDVALIDITY, or a UIDNEXT below the cursor after a restore), the folder is read from its beginning.
The digests, which are stored for `retention.records`, keep its mails from being reported again. A mail that cannot be fetched,
parsed or recorded is recorded as unreadable, and left unmarked for a person. One that cannot be stored stays above the cursor.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime

from mailbridge.errors import LoginRefused
from mailbridge.model import Cursor
from mailbridge.report.first_start import FirstStart
from mailbridge.report.imap_connection import Connection
from mailbridge.report.imap_login import log_in
from mailbridge.report.imap_refusal import patience
from mailbridge.report.imap_responses import Folder
from mailbridge.report.mailbox_status import MailboxStatus
from mailbridge.report.oauth import Tokens
from mailbridge.report.pipeline import Pipeline
from mailbridge.report.watcher_options import WatcherOptions
from mailbridge.retry import login_delay, reconnect_delay
from mailbridge.runtime import Runtime

# Not every server announces a mail that arrives just before IDLE begins (pymap waits for the next one). So the first IDLE after
# each mail is short, and the NOOP after it finds what was missed. The next ones grow by this factor: a mail that falls between
# two of them waits no longer than a few times as long as the mailbox was quiet before. In seconds.
FIRST_IDLE_SECONDS = 0.5
IDLE_FACTOR = 8
# Seconds after which a connection counts as a good one: the next failure is the first again.
STABLE_SECONDS = 60.0
# So many failures in a row mean more than a restart of the server.
STRUGGLING_FAILURES = 3
# A server that ends the connection when the access token expires is reconnected at once, unless the connection was shorter than
# this, in seconds.
TOKEN_SECONDS = 1.0


class Watcher:
    """Watches one mailbox. `connected` says whether mail that arrives now would be seen now.

    `tokens` are needed where the mailbox has no password.
    """

    def __init__(self, options: WatcherOptions, runtime: Runtime, tokens: Tokens | None = None) -> None:
        self.name, self.connected = options.name, False
        self.last_contact: datetime | None = None  # when the server last answered
        self._options, self._runtime, self._tokens = options, runtime, tokens
        self._pipeline = Pipeline(options, runtime)
        self._first_start = FirstStart(options, runtime)
        self._status = MailboxStatus(options.name, options.account, runtime)
        self._started_at = runtime.clock()
        self._retry = asyncio.Event()
        self._failures, self._refused_logins, self._connected_at = 0, 0, 0.0

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            self._retry.clear()
            try:
                await self._watch()
            except Exception as error:  # whatever it was, the mailbox is watched again after a while
                lasted = asyncio.get_running_loop().time() - self._connected_at if self.connected else 0.0
                self.connected = False
                if lasted >= TOKEN_SECONDS and self._tokens is not None and self._tokens.expired:
                    continue
                self._failures = 1 if lasted >= STABLE_SECONDS else self._failures + 1
                await self._status.down(error, self._failures)
                await self._sleep(self._pause(error))
            finally:
                self.connected = False

    def struggles(self) -> bool:
        """Return whether the server cannot be reached from here. A refused login is refused from everywhere."""
        return self._failures >= STRUGGLING_FAILURES and not self.connected and not self._refused_logins

    def retry_now(self) -> None:
        """End a pause: a person may have corrected what was wrong, such as a password."""
        self._refused_logins = 0
        self._retry.set()

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._retry.wait(), seconds)

    def _pause(self, error: Exception) -> float:
        """Return the seconds to wait after this error: as long as the server asks for, and long after a refused login."""
        if isinstance(error, LoginRefused):
            self._refused_logins += 1
            return login_delay(self._refused_logins)
        return max(reconnect_delay(self._failures, self._runtime.random()), patience(error) or 0.0)

    async def _watch(self) -> None:
        """Watch over one connection, until an error ends it."""
        options = self._options
        connection = await log_in(
            options.mailbox, self._tokens, tls=options.tls, timeout=options.timeout, max_literal=options.max_mail
        )
        self._refused_logins = 0
        try:
            folder = await connection.select(options.folder)
            cursor = await self._start(connection, folder)
            cursor = await self._pipeline.process_waiting(connection, cursor)
            self.connected, self._connected_at = True, asyncio.get_running_loop().time()
            self.last_contact = self._runtime.clock()
            await self._status.up()
            while True:
                await self._wait(connection)
                cursor = await self._pipeline.process_announced(connection, cursor)
        finally:
            connection.close()

    async def _wait(self, connection: Connection) -> None:
        """Return when there may be new mail. An EXISTS that came between two commands counts too."""
        seconds = min(self._options.idle, FIRST_IDLE_SECONDS)
        while not connection.exists_received:
            await connection.wait_for_exists(seconds)
            if not connection.exists_received:
                await connection.noop()
            self.last_contact = self._runtime.clock()
            seconds = min(self._options.idle, seconds * IDLE_FACTOR)

    async def _start(self, connection: Connection, folder: Folder) -> Cursor:
        """Return the cursor to read on from."""
        name, path = self._options.name, self._options.folder
        stored = await self._runtime.store.run(lambda tx: tx.mailboxes.cursor(name, path))
        if stored is not None and _continues(stored, folder):
            return stored
        self._pipeline.reset_uids()
        if stored is not None:
            return Cursor(uidvalidity=folder.uidvalidity, last_uid=0)
        old_before = self._started_at.replace(microsecond=0) if self._failures else None
        return await self._first_start.cursor(connection, folder, old_before)


def _continues(stored: Cursor, folder: Folder) -> bool:
    """Whether the UIDs of the folder are still those of the cursor.

    A mailbox that is restored from a backup may count again from below the cursor without a new UIDVALIDITY.
    """
    return stored.uidvalidity == folder.uidvalidity and stored.last_uid < (folder.uidnext or 2**32)
