"""One SMTP connection, apart from its commands: its limits, and input that is not SMTP."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import partial
from typing import cast

from mailbridge import log, metrics
from mailbridge.client_group import client_group
from mailbridge.errors import Refused, StoreUnavailable
from mailbridge.submission.aiosmtpd_adapter import SmtpProtocol, TlsHandshakeError
from mailbridge.submission.limits import EXCESS_DELAY, LOGIN_TIMEOUT, MAX_LINE, CommandLimits
from mailbridge.submission.session_context import SessionOptions, SessionServices
from mailbridge.submission.turns import (
    CHUNK,
    COMMAND,
    CONNECTION,
    DEAR_CHUNK,
    DEAR_DATA,
    HANDSHAKE,
    LITTLE_DATA,
    UNIT,
    cost_of_data,
)
from mailbridge.tls_handshake import client_address, is_tls

TEMPORARY_FAILURE = "451 4.3.0 The gateway cannot accept mail at the moment; please send it again later"
_SILENT_IN_DATA = 30.0  # seconds after which a connection in the middle of a mail may give way to another
_TLS_ADVICE = "This port does not begin with TLS; use STARTTLS, or a port of smtp.tls.listen"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# The last word of a request's line: HTTP/1.1, also of SIP and RTSP, which port scanners try.
_REQUEST = re.compile(r"(?:.* )?[A-Z]+/\d(?:\.\d)?", re.DOTALL)


class ClientConnection(SmtpProtocol):
    """A connection of `client`, an IP address. A session adds the commands; `busy` is True while a mail is under way."""

    def __init__(self, options: SessionOptions, services: SessionServices, *, implicit_tls: bool) -> None:
        super().__init__(
            hostname=options.hostname,
            max_size=options.data.max_size,
            idle_timeout=options.data.idle_timeout,
            starttls=None if implicit_tls else options.starttls,
        )
        self.client, self.client_group = "", ""
        self._options, self._services, self._implicit_tls = options, services, implicit_tls
        self._counted = self._greeted = self._not_smtp = False
        self.busy = self.has_logged_in = self.is_committing = False
        self.limits = CommandLimits(options.max_recipients)
        self._socket: asyncio.Transport | None = None
        self._login_timer: asyncio.TimerHandle | None = None
        self._line_size = 0
        self.active_at = self.loop.time()

    @property
    def encrypted(self) -> bool:
        """Whether the connection uses TLS."""
        return self._implicit_tls or self.starttls_done

    @property
    def _before_hello(self) -> bool:
        """Whether the client has not yet shown that it speaks SMTP."""
        return self.client_name is None and not self.starttls_done

    @property
    def gives_way(self) -> bool:
        """Whether the connection may be cut so that another finds a place."""
        if self.has_logged_in or self.is_committing:
            return False
        return not self.busy or self.loop.time() - self.active_at > _SILENT_IN_DATA

    def connected(self, transport: asyncio.BaseTransport) -> bool:
        """Count a new connection, before its TLS handshake if it has one; return whether it found a place."""
        self._socket = cast(asyncio.Transport, transport)
        self.client = client_address(transport)
        self.client_group = client_group(self.client)
        self._counted = self._services.connections.acquire(self.client, self, self.loop.time())
        self._login_timer = self.loop.call_later(LOGIN_TIMEOUT, self._login_timed_out)
        return self._counted

    def disconnected(self) -> None:
        """Stop counting the connection."""
        self._services.connections.release(self)
        self._counted = False
        self.stop_login_timer()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the dialogue. STARTTLS calls this again."""
        if self._socket is None:
            self.connected(transport)
        self._services.active.add(self)
        super().connection_made(transport)

    def hang_up(self, reply: str) -> None:
        """Send a last reply and close; see `SmtpConnection`."""
        if not self.closing:
            metrics.refused(reply)
        super().hang_up(reply)

    def connection_lost(self, error: Exception | None) -> None:
        """Stop counting the connection; the dialogue is cancelled."""
        self.disconnected()
        self._services.active.discard(self)
        super().connection_lost(error)

    def cut(self) -> None:
        """Close the connection at once, so that another finds a place."""
        if self._greeted and not self.closing:
            self.hang_up("421 4.7.0 Too many connections; closing the one that was silent longest")
        if self._socket is not None:
            self._socket.abort()

    def logged_in(self) -> None:
        """Note that the client has logged in, or needs no login."""
        self.has_logged_in = True
        self._services.connections.logged_in(self)
        self.stop_login_timer()

    def stop_login_timer(self) -> None:
        """Let the client take its time: it has logged in, or begun a mail."""
        if self._login_timer is not None:
            self._login_timer.cancel()

    def _login_timed_out(self) -> None:
        if self.transport is None and self._socket is not None:
            self._socket.abort()
        self.hang_up("421 4.4.2 Timeout waiting for a login or a mail; closing connection")

    async def serve(self) -> None:
        """Greet the client and answer its commands, unless there are too many connections or it did not wait for the greeting."""
        if not self._counted:
            self.log_line(log.connection_limit_reached)
            self.hang_up("421 4.7.0 Too many connections; please try again later")
            return
        if self._services.turns.spend(self.client_group, CONNECTION):
            await self._services.turns.next(self.client_group)
        # Two turns of the event loop show whether the client sent something before the greeting (RFC 5321 section 4.3.1).
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if self.has_unread_input:
            self.log_line(log.data_before_greeting)
            self.hang_up("554 5.5.0 Protocol violation: data before greeting")
        if not self.closing:
            self._greeted = True
            await self.run_commands()

    def data_received(self, data: bytes) -> None:
        """Take input. Another protocol ends the session at once: it may never end a line, and would wait for a reply."""
        self.active_at = self.loop.time()
        if self.closing or not self._counted or self.takes_raw_input:
            super().data_received(data)
        elif not self.has_unread_input and not self.encrypted and is_tls(data):
            self.log_line(log.tls_on_plain_port)
            self._reject(_TLS_ADVICE)
        elif not self.has_unread_input and self._before_hello and _is_binary(data):
            self.log_line(log.not_smtp, seen=data[:8].hex(" "))
            self._reject("This is an SMTP server")
        elif self._is_endless_line(data):
            self.log_line(log.command_limit_reached, reason="a line without an end")
            self.hang_up("421 4.7.0 Line too long; closing connection")
        else:
            super().data_received(data)

    def _is_endless_line(self, data: bytes) -> bool:
        """Return whether the client has sent too much without a line end, which would be read and searched for ever."""
        self._line_size = 0 if b"\n" in data else self._line_size + len(data)
        return self._line_size > MAX_LINE

    def log_line(self, event: log.Event, id: str = "smtp", **facts: object) -> None:
        """Write a log line about this client, unless it has caused too many."""
        self._services.log_lines.write(event, self.client, self.loop.time(), id, **facts)

    def _reject(self, reply: str) -> None:
        self._not_smtp = True
        self.hang_up(f"{'421 4.7.0' if self._greeted else '554 5.5.0'} {reply}")

    async def unknown_command(self, command: str, arg: str | None) -> None:
        """Answer an unknown command. Where it is the client's first one, the client speaks another protocol."""
        if self._before_hello and not self._not_smtp:
            self._not_smtp = True
            self.log_line(log.not_smtp, seen=ascii(command[:16])[1:-1])
            if _REQUEST.fullmatch(arg or ""):
                self._reject("This is an SMTP server")
                return
        await super().unknown_command(command, arg)

    async def push(self, status: str | bytes) -> None:
        """Send one reply; too many commands without a mail end the session. Other clients' sessions get their turn."""
        await super().push(status)
        code = status[:3] if isinstance(status, str) else status[:3].decode("ascii", "replace")
        excess = self.limits.count(self.command, code)
        if excess is not None:
            await self._end_for(excess)
        elif self._services.turns.spend(self.client_group, COMMAND):
            await self._services.turns.next(self.client_group)
        elif self.has_unread_input:
            await asyncio.sleep(0)

    async def _end_for(self, excess: str) -> None:
        """End the session. Whoever does nothing but fill it waits a little, so that the next one does not begin at once."""
        if excess == "bad commands":
            if not self._not_smtp:
                self.log_line(log.bad_command_limit_reached)
        else:
            self.log_line(log.command_limit_reached, reason=f"too many {excess}")
            cast(asyncio.Transport, self.transport).pause_reading()
            await asyncio.sleep(EXCESS_DELAY)
        self.hang_up(f"421 4.7.0 Too many {excess}; closing connection")

    def do_handshake_step(self, work: Callable[[], None]) -> None:
        """Do one step of the TLS handshake in the client's turn: it takes a millisecond and more."""
        self._services.turns.call(self.client_group, HANDSHAKE, work)

    def raw_input_received(self, data: bytes) -> None:
        """Take data in the client's turn: other clients' data goes before more than its share."""
        turns, client = self._services.turns, self.client_group
        if len(data) > LITTLE_DATA and turns.is_spent(client):
            cast(asyncio.Transport, self.transport).pause_reading()
            turns.call_later(client, COMMAND, partial(self._take_and_resume, data))
            return
        had_ended = self.has_all_data
        is_spent = turns.spend(client, self._take(data))
        if self.has_all_data and not had_ended:
            return  # nothing more is expected now, and to pause reading takes two system calls
        if is_spent:
            cast(asyncio.Transport, self.transport).pause_reading()
            turns.call_later(client, CHUNK, self._resume_raw_input)
        elif self.writing is not None:
            cast(asyncio.Transport, self.transport).pause_reading()
            self._resume_raw_input()

    def _take_and_resume(self, data: bytes) -> None:
        self._services.turns.spend(self.client_group, self._take(data))
        self._resume_raw_input()

    def _take(self, data: bytes) -> int:
        """Take data; return what it cost. A chunk cannot be interrupted: where one costs much, the next ones are smaller."""
        seconds = self.take_raw_input(data)
        cost = cost_of_data(len(data), seconds)
        if cost > DEAR_CHUNK:
            self.read_less()
        if seconds > DEAR_DATA * (1 + len(data) // UNIT):
            self._services.turns.rest(self.client_group, 2 * seconds)
        return cost

    @property
    def writing(self) -> asyncio.Future[None] | None:
        """The write of data that is under way in a thread."""
        return None

    @property
    def has_all_data(self) -> bool:
        """Whether the end of a mail's data has come."""
        return False

    def _resume_raw_input(self) -> None:
        """Read on, once what was read is written."""
        if self.writing is not None:
            self.writing.add_done_callback(lambda _: self._resume_raw_input())
        elif self.takes_raw_input and self.transport is not None:
            cast(asyncio.Transport, self.transport).resume_reading()

    async def handle_exception(self, error: Exception) -> str:
        """Return the reply to an unexpected error, which must not reveal what failed."""
        if isinstance(error, Refused):
            return error.reply
        if isinstance(error, TlsHandshakeError):
            self.log_line(log.tls_handshake_failed, **error.facts)
        elif not isinstance(error, StoreUnavailable):
            log.session_crashed("smtp", error=f"{type(error).__name__}: {error}")
        return TEMPORARY_FAILURE


def _is_binary(data: bytes) -> bool:
    """Return whether input begins with a byte with which no text begins. A byte order mark begins the text of some scripts."""
    return (data[0] < 0x20 and data[:1] not in b"\r\n\t\b") or (data[0] > 0x7F and not _BYTE_ORDER_MARK.startswith(data[:3]))
