"""aiosmtpd as a session needs it; the only file that uses private members of aiosmtpd and asyncio.

aiosmtpd collects a mail in memory line by line (25 MB take 1 s and 95 MiB), closes an idle connection without a reply, and limits
neither clients nor data. `SmtpProtocol` keeps its connection, its STARTTLS and its flow control, and gives a session what
aiosmtpd keeps private: the input (for DATA), the idle timer, and the table of commands. It has a command loop of its own:
aiosmtpd's makes four records for the log of each command, which took a tenth of the time of a mail's dialogue.

`_PRIVATE` names every private member and why it is needed. They are checked at import, because a release of aiosmtpd may rename
one without notice; pyproject.toml pins `aiosmtpd~=1.4.6` for the same reason.
"""

from __future__ import annotations

import asyncio
import platform
import ssl
import time
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, cast

import aiosmtpd
from aiosmtpd.smtp import SMTP, TLSSetupException
from aiosmtpd.smtp import Session as SmtpState

from mailbridge.errors import Refused
from mailbridge.submission.command_line import LONGEST, TOO_LONG, parse_command
from mailbridge.submission.command_table import CommandTable
from mailbridge.submission.enhanced_codes import with_enhanced_code
from mailbridge.submission.idle_timer import IdleTimer
from mailbridge.tls_handshake import TlsProtocol

_PRIVATE: Final[Mapping[str, Mapping[str, str]]] = {
    "SMTP": {
        "_handle_client": "the command loop: a session decides first whether it admits the client, and is quicker",
        "_smtp_methods": "the table of commands: an unknown command is answered by the session",
        "_set_post_data_state": "called at EHLO, RSET, STARTTLS and after DATA: the session drops its mail transaction",
        "_reset_timeout": "restarts the idle timer, which aiosmtpd does not do during DATA",
        "_timeout_handle": "the idle timer, which aiosmtpd cancels at the end of the connection",
        "_tls_protocol": "set once STARTTLS was accepted; aiosmtpd's own does not say why a handshake failed",
        "_original_transport": "the transport below TLS: closing it closes the connection without waiting for the client",
        "_reader": "the input, for commands and the answers to AUTH's challenges",
        "_writer": "the output, with its flow control",
    },
    "StreamReader": {
        "_buffer": "input that is received and not yet read: DATA takes it over, and a closing session drops it",
        "_maybe_resume_transport": "lets the transport read on after the buffer was taken over",
    },
    "SSLProtocol": {"_app_transport": "the transport inside TLS, which STARTTLS begins to use"},
}
_COMMANDS: Final[dict[type, list[str]]] = {}  # the names of the methods of each class's commands
_CLOSE_TIMEOUT = 5.0  # seconds for a client to read the last reply
_LEAST_READ = 65_536  # bytes of input that are read at once where much of it takes long


def check_private_members(found: Mapping[str, object]) -> None:
    """Check that each object of `found` (by its class's name) has the private members used here. Raises ImportError."""
    for owner, members in _PRIVATE.items():
        for name in members:
            if not hasattr(found[owner], name):
                found_version = f"aiosmtpd {aiosmtpd.__version__} on Python {platform.python_version()}"
                raise ImportError(f"{found_version} has no {owner}.{name}, which mailbridge needs; install aiosmtpd~=1.4.6")


def _sample() -> dict[str, object]:
    """Return instances to check: most members are attributes that only an instance has."""
    loop = asyncio.new_event_loop()
    try:
        reader = asyncio.StreamReader(loop=loop)
        protocol = SMTP(None, hostname="localhost", loop=loop)
        connected = getattr(protocol, "_cb_client_connected", lambda *_: None)
        connected(reader, None)
        tls = SSLProtocol(loop, protocol, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), loop.create_future(), server_side=True)
        tls.connection_lost(None)
        return {"SMTP": protocol, "StreamReader": reader, "SSLProtocol": tls}
    finally:
        loop.close()


check_private_members(_sample())


class TlsHandshakeError(TLSSetupException):
    """The handshake after STARTTLS failed; `facts` say why. aiosmtpd closes the connection."""

    def __init__(self, facts: Mapping[str, str]) -> None:
        super().__init__(facts["reason"])
        self.facts = facts


class SmtpProtocol(SMTP):
    """One SMTP connection. `max_size` (bytes) is announced by EHLO, `idle_timeout` is in seconds, `starttls` may be None."""

    line_length_limit = LONGEST

    def __init__(self, *, hostname: str, max_size: int, idle_timeout: float, starttls: ssl.SSLContext | None) -> None:
        super().__init__(
            None,
            data_size_limit=max_size,
            enable_SMTPUTF8=True,
            hostname=hostname,
            tls_context=starttls,
            timeout=idle_timeout,
            auth_required=False,
            auth_require_tls=False,
            loop=asyncio.get_running_loop(),
        )
        self._commands = CommandTable(self._smtp_methods, self.unknown_command)
        self._raw_receiver: Callable[[bytes], None] | None = None
        self._idle_timer = IdleTimer(self.loop, idle_timeout, self.idle_timed_out)

    def __dir__(self) -> Iterable[str]:
        """Return the names of the commands: aiosmtpd looks at each attribute of a new connection, twice, for 0.3 ms."""
        kind = type(self)
        if kind not in _COMMANDS:
            _COMMANDS[kind] = [name for name in dir(kind) if name.startswith(("smtp_", "auth_"))]
        return _COMMANDS[kind]

    # what a session overrides

    async def serve(self) -> None:
        """Serve the client until the connection ends."""
        await self.run_commands()

    async def unknown_command(self, command: str, arg: str | None) -> None:
        """Answer a command that is not in the table."""
        await self.push("500 5.5.2 Command not recognized")

    def idle_timed_out(self) -> None:
        """Close a connection whose client has sent nothing for `idle_timeout`."""
        self.hang_up("421 4.4.2 Timeout waiting for client; closing connection")

    def transaction_ended(self) -> None:
        """Drop the mail transaction: the client connected, sent EHLO or RSET, or a mail is answered."""

    def raw_input_received(self, data: bytes) -> None:
        """Pass raw input to its receiver, now or soon. No more is read before that where reading was paused."""
        self.take_raw_input(data)

    def take_raw_input(self, data: bytes) -> float:
        """Pass raw input to its receiver, unless that wants no more; return the seconds that it took."""
        begun = time.perf_counter()
        if self._raw_receiver is not None:
            self._raw_receiver(data)
        return time.perf_counter() - begun

    def read_less(self) -> None:
        """Read half as much at once from now on. Does nothing under TLS."""
        if isinstance(size := getattr(self.transport, "max_size", None), int):
            self.transport.max_size = max(_LEAST_READ, size // 2)  # type: ignore[union-attr]  # asyncio's socket transport

    def do_handshake_step(self, work: Callable[[], None]) -> None:
        """Do one step of the TLS handshake, now or soon."""
        work()

    # what a session uses

    async def run_commands(self) -> None:
        """Greet the client, and read and answer its commands until the connection ends."""
        await self.push(f"220 {self.hostname} mailbridge ESMTP")
        while self.transport is not None:
            try:
                await self._answer_line(await self._next_line())
            except ConnectionResetError:
                return
            except Exception as error:
                reply = await self.handle_exception(error)
                if isinstance(error, TlsHandshakeError):
                    self._transport_now.close()
                    self.connection_lost(error)
                else:
                    await self.push(reply)

    async def _next_line(self) -> bytes:
        """Return the next line without its end. One that is too long is read to its end. Raises Refused."""
        is_too_long = False
        while True:
            try:
                line = await self._reader.readuntil()
            except asyncio.LimitOverrunError as error:
                is_too_long = True
                await self._reader.read(error.consumed)
            else:
                if is_too_long:
                    raise Refused(TOO_LONG)
                return bytes(line).rstrip(b"\r\n")

    async def _answer_line(self, line: bytes) -> None:
        command, argument = parse_command(line, extended=self.extended)
        method = self._commands.get(command)
        self._reset_timeout()
        await method(argument)

    def end_transaction(self) -> None:
        """End the mail transaction as RSET does."""
        self._set_post_data_state()

    def begin_session(self, client_name: str, *, extended: bool) -> None:
        """Note a HELO, or an EHLO (`extended`), and end the mail transaction (RFC 5321 section 4.1.4)."""
        self.end_transaction()
        self._state.host_name, self._state.extended_smtp = client_name, extended

    @property
    def client_name(self) -> str | None:
        """The name that the client gave with HELO or EHLO, None before."""
        return self._state.host_name

    @property
    def extended(self) -> bool:
        """Whether the client greeted with EHLO."""
        return bool(self._state.extended_smtp)

    @property
    def starttls_done(self) -> bool:
        """Whether STARTTLS was accepted."""
        return self._tls_protocol is not None

    @property
    def starttls_offered(self) -> bool:
        """Whether the client may send STARTTLS: once, and never inside TLS."""
        return self.tls_context is not None and self._tls_protocol is None

    @property
    def closing(self) -> bool:
        """Whether the connection is closed, or will be once the last reply is written."""
        return self.transport is None or self.transport.is_closing()

    @property
    def command(self) -> str:
        """The command that is answered, in capitals."""
        return self._commands.present

    @property
    def takes_raw_input(self) -> bool:
        """Whether the input is the content of a mail."""
        return self._raw_receiver is not None

    @property
    def has_unread_input(self) -> bool:
        """Whether the client has sent something that was not read yet."""
        return bool(self._unread)

    async def start_tls(self) -> None:
        """Reply 220 and begin TLS (RFC 3207). Raises TlsHandshakeError."""
        await self.push("220 2.0.0 Ready to start TLS")
        tls = self._tls_protocol = TlsProtocol(self, cast(ssl.SSLContext, self.tls_context), self.do_handshake_step)
        below = self._original_transport = self._transport_now
        below.set_protocol(tls)
        self.transport = tls._app_transport
        tls.connection_made(below)
        try:
            await tls.handshake
        except OSError as error:
            raise TlsHandshakeError(tls.fault(error)) from error

    async def read_line(self) -> bytes:
        """Read one line, its end included."""
        return bytes(await self._reader.readline())

    def write_lines(self, lines: list[str]) -> None:
        """Write reply lines at once, without flow control."""
        self._transport_now.write("".join(f"{line}\r\n" for line in lines).encode())

    async def push(self, status: str | bytes) -> None:
        """Send one reply line, with an enhanced code where it has to have one."""
        line = status.encode("utf-8", "replace") if isinstance(status, str) else status
        self._writer.write(with_enhanced_code(line.replace(b"\r", b" ").replace(b"\n", b" ")) + b"\r\n")
        if self.closing or self._transport_now.get_write_buffer_size():
            await self._writer.drain()

    @contextmanager
    def raw_input(self, receive: Callable[[bytes], None]) -> Iterator[None]:
        """Pass the input to `receive` as it arrives, what is unread first, instead of to the command loop.

        Each chunk restarts the idle timer. `receive` must not raise. The transport may be paused meanwhile.
        """
        if self._unread:
            receive(bytes(self._unread))
            self._unread.clear()
            self._reader._maybe_resume_transport()  # type: ignore[attr-defined]  # asyncio keeps it private
        self._raw_receiver = receive
        try:
            yield
        finally:
            self._raw_receiver = None
            if self.transport is not None:
                self._transport_now.resume_reading()

    def give_back(self, data: bytes) -> None:
        """Give input back to the command loop that came after the end of data."""
        super().data_received(data)

    def stop_idle_timer(self) -> None:
        """Stop the idle timer, while the client waits for the gateway."""
        self._idle_timer.stop()

    def restart_idle_timer(self) -> None:
        """Let `idle_timeout` begin anew, unless the client is gone: a timer would keep its session in memory."""
        if self.transport is not None:
            self._reset_timeout()

    def hang_up(self, reply: str) -> None:
        """Send a last reply and close, whatever is under way; unread input is dropped. Cuts the connection after 5 s."""
        if self.closing:
            return
        # During the TLS handshake a reply would reach the client in clear.
        if self._tls_protocol is None or self._state.ssl is not None:
            self.write_lines([reply])
        self._unread.clear()
        transport = cast(asyncio.Transport, self._original_transport or self.transport)
        transport.close()
        self.loop.call_later(_CLOSE_TIMEOUT, transport.abort)

    # what aiosmtpd and asyncio call

    def data_received(self, data: bytes) -> None:
        """Pass input to the command loop, or to whoever takes the raw input."""
        if self._raw_receiver is None:
            super().data_received(data)
        else:
            self._reset_timeout()
            self.raw_input_received(data)

    def connection_lost(self, error: Exception | None) -> None:
        """Cancel the command loop. asyncio calls a second time after a failed TLS handshake, which aiosmtpd does not expect."""
        if self.transport is not None:
            super().connection_lost(error)

    async def _handle_client(self) -> None:
        try:
            await self.serve()
        finally:
            # aiosmtpd closes in its loop alone: a client that hangs up before the greeting would stay connected.
            if self.transport is not None:
                self.transport.close()

    def _reset_timeout(self, duration: float | None = None) -> None:
        self._timeout_handle = self._idle_timer  # type: ignore[assignment]  # aiosmtpd only cancels it
        self._idle_timer.restart()

    def _set_post_data_state(self) -> None:
        super()._set_post_data_state()  # type: ignore[no-untyped-call]  # aiosmtpd's has no types
        self.transaction_ended()

    @property
    def _state(self) -> SmtpState:
        return cast(SmtpState, self.session)

    @property
    def _transport_now(self) -> asyncio.Transport:
        return cast(asyncio.Transport, self.transport)

    @property
    def _unread(self) -> bytearray:
        """What the client has sent and nobody has read yet; aiosmtpd itself uses it so for STARTTLS (RFC 3207 section 4.2)."""
        return cast(bytearray, self._reader._buffer)  # type: ignore[attr-defined]  # asyncio keeps it private
