"""The protocol of one IMAP connection: aioimaplib's with iterative reading, and caps on what a server may send."""

from __future__ import annotations

import asyncio
import re

from aioimaplib.aioimaplib import Abort, AioImapException, Command, IMAP4ClientProtocol, Response

from mailbridge.errors import MailboxError

# 500,000 UIDs of a SEARCH fit into a line; beyond that a server is not well, or not kind.
MAX_LINE = 4 * 1024 * 1024
# A report is a few KB: one FETCH of so much brings it whole, and of any other mail at least the header.
FIRST_BYTES = 65536
BATCH = 100
# Lines of one answer that are kept, and pieces of one line: a flood of tiny ones would cost many times its bytes in memory.
MAX_KEPT = 20_000
# Lines of one answer in all: somebody may mark a whole mailbox as read, but they are time on the event loop.
MAX_LINES = 200_000
MAX_PIECES = 100

_LITERAL = re.compile(rb"\{(\d+)\}$")
_NUMBERED = re.compile(rb"\d+ (EXISTS|FETCH)\b", re.IGNORECASE)
_TAGGED = re.compile(rb"[A-Z0-9]+ (?i:OK|NO|BAD)\b")


class ImapProtocol(IMAP4ClientProtocol):  # type: ignore[misc, unused-ignore]  # aioimaplib has no types
    """aioimaplib's protocol with its own reading: a response is gathered whole, line by line and literal by literal.

    `news` is set by every EXISTS; `lost` tells why the connection is gone. A lost connection fails every waiting command at once.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, max_literal: int) -> None:
        super().__init__(loop)
        self.greeting: asyncio.Future[bytes] = loop.create_future()
        self.news = asyncio.Event()
        self.fetched: list[list[bytes]] = []
        self.lost: str | None = None
        self.heard = loop.time()
        self.received, self.kept, self.lines = 0, 0, 0
        self.replies, self.challenge = list[bytes](), b""
        self._max_literal = max_literal
        self._buffer, self._parts = bytearray(), list[bytes]()
        self._wanted: int | None = None
        self._scanned = 0

    def data_received(self, d: bytes) -> None:
        """Take what came. A server that breaks the protocol or a cap loses its connection."""
        self.heard = self.loop.time()
        self.received += len(d)
        self._buffer += d
        try:
            if self.received > self._max_literal + BATCH * (FIRST_BYTES + 4096) + MAX_LINE:
                raise Abort("the answer has no end")
            while self.lost is None and self._take_part():
                pass
        except (AioImapException, ValueError) as error:
            self.fail(str(error))

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake everyone who waits."""
        self._wake(f"the connection was lost ({exc})" if exc else "the server closed the connection")

    def fail(self, reason: str) -> None:
        """End the connection at once for this reason."""
        self._wake(reason)
        if self.transport is not None:
            self.transport.abort()

    async def execute(self, command: Command, scrub: str | None = None) -> Response:
        """Send a command and return its answer. Raises Abort, also when the connection is gone before it could be sent."""
        if self.lost is not None:
            raise Abort(self.lost)
        return await super().execute(command, scrub=scrub)

    def begin(self) -> None:
        """Count anew for the next command: bytes, lines, and lines that are kept."""
        self.received, self.kept, self.lines = 0, 0, 0

    def idle_started(self) -> asyncio.Event:
        """The event that is set when the server has begun to idle."""
        event: asyncio.Event = self._idle_event
        return event

    def unread(self) -> bool:
        """Whether bytes wait that no command asked for yet (before STARTTLS they could be an attacker's)."""
        return bool(self._buffer or self._parts)

    def _wake(self, reason: str) -> None:
        self.lost = self.lost or reason
        if not self.greeting.done():
            self.greeting.set_exception(MailboxError(self.lost))
            self.greeting.exception()  # marked as seen: nobody may be waiting any more
        for command in self._waiting():
            command._exception = Abort(self.lost)
            command._timer.cancel()
            command._event.set()
        self.news.set()

    def _take_part(self) -> bool:
        """Take one line or literal off the buffer; False when it has not come whole."""
        if self._wanted is not None:
            if len(self._buffer) < self._wanted:
                return False
            with memoryview(self._buffer) as view:
                self._parts.append(bytes(view[: self._wanted]))
            del self._buffer[: self._wanted]
            self._wanted = None
            return True
        end = self._buffer.find(b"\r\n", self._scanned)
        if end < 0:
            self._scanned = max(0, len(self._buffer) - 1)
            if len(self._buffer) > MAX_LINE:
                raise Abort("a line of the answer has no end")
            return False
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        self._scanned = 0
        self._parts.append(line)
        self.lines += 1
        if self.lines > MAX_LINES:
            raise Abort("the answer has no end")
        literal = _LITERAL.search(line)
        if literal is None:
            parts, self._parts = self._parts, []
            self._answer(parts)
            return True
        if len(self._parts) > MAX_PIECES:
            raise Abort("a line of the answer has no end")
        if len(literal[1]) > 10 or int(literal[1]) > self._max_literal:
            raise Abort(f"the server announced a literal of {literal[1][:20].decode()} bytes")
        self._wanted = int(literal[1])
        return True

    def _answer(self, parts: list[bytes]) -> None:
        first = parts[0]
        if not self.greeting.done():
            self.greeting.set_result(first)
        elif first.startswith(b"* "):
            self._untagged(first[2:], parts[1:])
        elif first.startswith(b"+"):
            self._continuation(first)
        elif _TAGGED.match(first):
            self._tagged(first)
        elif first:
            raise Abort("the server sent what is not IMAP")

    def _continuation(self, line: bytes) -> None:
        if self.pending_sync_command is None or self.pending_sync_command.name != "AUTHENTICATE":
            super()._continuation(line)
            return
        # Past the replies it is an error that the server spells out, and an empty line asks for its verdict.
        self._keep()
        if not self.replies:
            self.challenge = line[2:]
        self.transport.write((self.replies.pop(0) if self.replies else b"") + b"\r\n")

    def _tagged(self, line: bytes) -> None:
        # aioimaplib's own complaint about a wrong tag quotes the whole command: for LOGIN, the password.
        tag = line.partition(b" ")[0].decode("ascii", "replace")
        if tag not in {command.tag for command in self._waiting()}:
            raise Abort("the server answered a command that was not given")
        self._response_done(line)

    def _waiting(self) -> list[Command]:
        waiting = [self.pending_sync_command, *self.pending_async_commands.values()]
        return [command for command in waiting if command is not None]

    def _untagged(self, text: bytes, rest: list[bytes]) -> None:
        numbered = _NUMBERED.match(text)
        if numbered and numbered[1].upper() == b"FETCH":
            if "FETCH" in self.pending_async_commands and b"BODY[" in text.upper():
                self._keep()
                self.fetched.append([text, *rest])
            return
        if numbered:
            self.news.set()
        word, _, words = text.partition(b" ")
        if word.upper() == b"BYE" and self.state != "LOGOUT":
            raise Abort(f"the server said goodbye ({words[:200].decode('utf-8', 'replace')})")
        command = self.pending_sync_command
        if command is not None and command.name != "IDLE":
            self._keep()
            command.append_to_resp(text)
        elif command is None:
            asked = self.pending_async_commands.get(word.decode("ascii", "replace").upper())
            if asked is not None:
                self._keep()
                asked.append_to_resp(words)

    def _keep(self) -> None:
        self.kept += 1
        if self.kept > MAX_KEPT:
            raise Abort("the answer has no end")
