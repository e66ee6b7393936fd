"""The asyncio protocol of one IMAP connection: aioimaplib's commands, with our own reading of what the server sends."""

from __future__ import annotations

import asyncio
import re

from aioimaplib.aioimaplib import Abort, AioImapException, Command, IMAP4ClientProtocol, Response

from mailbridge.errors import MailboxError
from mailbridge.report.imap_responses import BATCH, FIRST_BYTES, MAX_LINE, ResponseReader

# Responses to one command that are kept: a flood of tiny ones would cost many times its bytes in memory.
MAX_KEPT = 20_000

# RFC 3501 section 7.3.1 (EXISTS), section 7.4.2 (FETCH), section 7.1 (tagged OK, NO, BAD). None of these words has a case.
_NUMBERED = re.compile(rb"\d+ (EXISTS|FETCH)\b", re.IGNORECASE)
_TAGGED = re.compile(rb"[A-Z0-9]+ (?i:OK|NO|BAD)\b")


class ImapProtocol(IMAP4ClientProtocol):  # type: ignore[misc, unused-ignore]  # aioimaplib has no types
    """aioimaplib's protocol, made safe: its own reading recurses once per line, has no limits, and survives no lost connection.

    `exists` is set by every EXISTS. `lost` is why the connection is gone, or None while it is up; a lost connection fails every
    pending command at once. `last_received` is the loop's time of the last bytes.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, max_literal: int) -> None:
        super().__init__(loop)
        self.greeting: asyncio.Future[bytes] = loop.create_future()
        self.exists = asyncio.Event()
        self.fetch_responses: list[list[bytes]] = []
        self.lost: str | None = None
        self.last_received = loop.time()
        # What is left to answer to the server's continuations of a login, and the error that it sent in one.
        self.replies, self.sasl_error = list[bytes](), b""
        self._kept = 0
        self._ended: Command | None = None  # the IDLE that was asked to end
        self._reader = ResponseReader(max_literal, max_literal + BATCH * (FIRST_BYTES + 4096) + MAX_LINE)

    def data_received(self, data: bytes) -> None:
        """Handle every complete response. A server that breaks the protocol or a limit loses its connection."""
        self.last_received = self.loop.time()
        try:
            self._reader.feed(data)
            while self.lost is None and (response := self._reader.next_response()) is not None:
                self._handle(response)
        except (AioImapException, MailboxError, ValueError) as error:
            self.fail(str(error))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail everything that waits for the server."""
        self._fail_pending(f"the connection was lost ({exc})" if exc else "the server closed the connection")

    def fail(self, reason: str) -> None:
        """End the connection at once for this reason."""
        self._fail_pending(reason)
        if self.transport is not None:
            self.transport.abort()

    async def execute(self, command: Command, scrub: str | None = None) -> Response:
        """Send a command and return its answer. Raises Abort, also when the connection is lost before it was sent."""
        if self.lost is not None:
            raise Abort(self.lost)
        return await super().execute(command, scrub=scrub)

    def start_command(self) -> None:
        """Apply the limits to the next command's responses anew."""
        self._reader.start_command()
        self._kept = 0

    def idle_started(self) -> asyncio.Event:
        """The event that is set when the server has begun to idle."""
        event: asyncio.Event = self._idle_event
        return event

    def end_idle(self) -> None:
        """Ask the server to end IDLE (RFC 2177), once, if it idles."""
        command = self.pending_sync_command
        if command is not None and command.name == "IDLE" and command is not self._ended and self._idle_event.is_set():
            self._ended = command
            self.idle_done()

    @property
    def has_unread(self) -> bool:
        """Whether bytes wait that belong to no command. Before STARTTLS they could be an attacker's."""
        return self._reader.has_unread

    def _fail_pending(self, reason: str) -> None:
        self.lost = self.lost or reason
        if not self.greeting.done():
            self.greeting.set_exception(MailboxError(self.lost))
            self.greeting.exception()  # marks it as retrieved: nobody may be waiting for it any more
        for command in self._pending():
            command._exception = Abort(self.lost)
            command._timer.cancel()
            command._event.set()
        self.exists.set()

    def _handle(self, response: list[bytes]) -> None:
        line = response[0]
        if not self.greeting.done():
            self.greeting.set_result(line)
        elif line.startswith(b"* "):
            self._handle_untagged(line[2:], response[1:])
        elif line.startswith(b"+"):
            self._continuation(line)
        elif _TAGGED.match(line):
            self._handle_tagged(line)
        elif line:
            raise Abort("the server sent what is not IMAP")

    def _continuation(self, line: bytes) -> None:
        """Answer `+ …` (RFC 3501 section 7.5)."""
        command = self.pending_sync_command
        if command is None or command.name not in ("AUTHENTICATE", "LOGIN"):
            super()._continuation(line)
            return
        self._count_kept()
        if not self.replies:
            if command.name == "LOGIN":
                raise Abort("the server asks for more than a login has")
            # Every reply is sent: this continuation carries an error, and an empty line asks for the final NO.
            self.sasl_error = line[2:]
        self.transport.write((self.replies.pop(0) if self.replies else b"") + b"\r\n")

    def _handle_tagged(self, line: bytes) -> None:
        # aioimaplib's own error about a wrong tag quotes the whole command: for LOGIN, with the password.
        tag = line.partition(b" ")[0].decode("ascii", "replace")
        if tag not in {command.tag for command in self._pending()}:
            raise Abort("the server answered a command that was not given")
        self._response_done(line)

    def _pending(self) -> list[Command]:
        pending = [self.pending_sync_command, *self.pending_async_commands.values()]
        return [command for command in pending if command is not None]

    def _handle_untagged(self, text: bytes, rest: list[bytes]) -> None:
        numbered = _NUMBERED.match(text)
        if numbered and numbered[1].upper() == b"FETCH":
            # One without BODY[ only reports changed flags.
            if "FETCH" in self.pending_async_commands and b"BODY[" in text.upper():
                self._count_kept()
                self.fetch_responses.append([text, *rest])
            return
        if numbered:
            self.exists.set()
            self.end_idle()  # here, not in the task that waits for it, which runs only two turns of the loop later
        word, _, words = text.partition(b" ")
        if word.upper() == b"BYE" and self.state != "LOGOUT":
            raise Abort(f"the server said goodbye ({words[:200].decode('utf-8', 'replace')})")
        command = self.pending_sync_command
        if command is not None and command.name != "IDLE":
            self._count_kept()
            command.append_to_resp(text)
        elif command is None:
            expected = self.pending_async_commands.get(word.decode("ascii", "replace").upper())
            if expected is not None:
                self._count_kept()
                expected.append_to_resp(words)

    def _count_kept(self) -> None:
        self._kept += 1
        if self._kept > MAX_KEPT:
            raise Abort("the answer has no end")
