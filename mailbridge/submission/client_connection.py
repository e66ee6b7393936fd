"""One SMTP connection, apart from its commands: its limits, and input that is not SMTP."""

from __future__ import annotations

import asyncio
import re

from mailbridge import log
from mailbridge.errors import Refused, StoreUnavailable
from mailbridge.submission.aiosmtpd_adapter import SmtpProtocol, TlsHandshakeError
from mailbridge.submission.limits import MAX_BAD_COMMANDS
from mailbridge.submission.session_context import SessionOptions, SessionServices
from mailbridge.submission.tls_handshake import client_address, is_tls

TEMPORARY_FAILURE = "451 4.3.0 The gateway cannot accept mail at the moment; please send it again later"
_BAD_COMMAND = ("500", "501", "502", "504", b"500", b"501", b"502", b"504")
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
        self.client = ""
        self._options, self._services, self._implicit_tls = options, services, implicit_tls
        self._counted = self._greeted = self._not_smtp = False
        self.busy = False
        self._bad_commands = 0

    @property
    def encrypted(self) -> bool:
        """Whether the connection uses TLS."""
        return self._implicit_tls or self.starttls_done

    @property
    def _before_hello(self) -> bool:
        """Whether the client has not yet shown that it speaks SMTP."""
        return self.client_name is None and not self.starttls_done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count a new connection. STARTTLS calls this again."""
        self.client = client_address(transport)
        if not self._counted:
            self._counted = self._services.connections.acquire(self.client)
        self._services.active.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Stop counting the connection; the dialogue is cancelled."""
        if self._counted:
            self._services.connections.release(self.client)
            self._counted = False
        self._services.active.discard(self)
        super().connection_lost(error)

    async def serve(self) -> None:
        """Greet the client and answer its commands, unless there are too many connections or it did not wait for the greeting."""
        if not self._counted:
            log.connection_limit_reached("smtp", client=self.client)
            self.hang_up("421 4.7.0 Too many connections; please try again later")
            return
        # Two turns of the event loop show whether the client sent something before the greeting (RFC 5321 section 4.3.1).
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if self.has_unread_input:
            log.data_before_greeting("smtp", client=self.client)
            self.hang_up("554 5.5.0 Protocol violation: data before greeting")
        if not self.closing:
            self._greeted = True
            await self.run_commands()

    def data_received(self, data: bytes) -> None:
        """Take input. Another protocol ends the session at once: it may never end a line, and would wait for a reply."""
        if self.closing or not self._counted or not self.expects_command:
            super().data_received(data)
        elif is_tls(data) and not self.encrypted:
            log.tls_on_plain_port("smtp", client=self.client)
            self._reject(_TLS_ADVICE)
        elif self._before_hello and _is_binary(data):
            log.not_smtp("smtp", client=self.client, seen=data[:8].hex(" "))
            self._reject("This is an SMTP server")
        else:
            super().data_received(data)

    def _reject(self, reply: str) -> None:
        self._not_smtp = True
        self.hang_up(f"{'421 4.7.0' if self._greeted else '554 5.5.0'} {reply}")

    async def unknown_command(self, command: str, arg: str | None) -> None:
        """Answer an unknown command. Where it is the client's first one, the client speaks another protocol."""
        if self._before_hello and not self._not_smtp:
            self._not_smtp = True
            log.not_smtp("smtp", client=self.client, seen=ascii(command[:16])[1:-1])
            if _REQUEST.fullmatch(arg or ""):
                self._reject("This is an SMTP server")
                return
        await super().unknown_command(command, arg)

    async def push(self, status: str | bytes) -> None:
        """Send one reply; too many bad commands end the session."""
        await super().push(status)
        if status[:3] in _BAD_COMMAND:
            self._bad_commands += 1
            if self._bad_commands == MAX_BAD_COMMANDS:
                if not self._not_smtp:
                    log.bad_command_limit_reached("smtp", client=self.client)
                self.hang_up("421 4.7.0 Too many bad commands; closing connection")

    def forget_bad_commands(self) -> None:
        """Count bad commands anew: the client has sent a mail."""
        self._bad_commands = 0

    async def handle_exception(self, error: Exception) -> str:
        """Return the reply to an unexpected error, which must not reveal what failed."""
        if isinstance(error, Refused):
            return error.reply
        if isinstance(error, TlsHandshakeError):
            log.tls_handshake_failed("smtp", client=self.client, **error.facts)
        elif not isinstance(error, StoreUnavailable):
            log.session_crashed("smtp", error=f"{type(error).__name__}: {error}")
        return TEMPORARY_FAILURE


def _is_binary(data: bytes) -> bool:
    """Return whether input begins with a byte with which no text begins. A byte order mark begins the text of some scripts."""
    return (data[0] < 0x20 and data[:1] not in b"\r\n\t\b") or (data[0] > 0x7F and not _BYTE_ORDER_MARK.startswith(data[:3]))
