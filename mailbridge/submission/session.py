"""One SMTP session: aiosmtpd's dialogue with DATA streamed to the spool, RFC 3461 parameters, and limits on everything."""

from __future__ import annotations

import asyncio
import ssl
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast

from aiosmtpd.smtp import SMTP, TLSSetupException
from aiosmtpd.smtp import Session as SmtpState

from mailbridge import log
from mailbridge.config import Config, is_loopback
from mailbridge.errors import Refused, StoreUnavailable
from mailbridge.store.spool import SpoolFile
from mailbridge.submission.acceptance import Acceptance, Draft
from mailbridge.submission.commands import check_mail, check_rcpt, parse_path
from mailbridge.submission.data_reader import DataReader
from mailbridge.submission.limits import ConnectionLimits
from mailbridge.submission.login import check_syntax, is_right, read_login

# A mail over the limit is read to its end, so that the client hears why, but not further than this.
_MOST_BEYOND = 1_000_000
# RFC 5321 section 4.5.3.2 gives minutes to a chunk; a client slower than this many bytes a second only holds the line.
_SLOWEST = 512
_LONGEST_DATA = 7200.0
_MOST_JUNK = 10
_MOST_FAILED_LOGINS = 3
# What aiosmtpd says in words of its own lacks the code that EHLO promises (RFC 2034).
_WORDS = {b"250 OK": b"250 2.0.0 OK", b"221 Bye": b"221 2.0.0 Bye", b"220 Ready to start TLS": b"220 2.0.0 Ready to start TLS"}
_CODES = {b"500": b"5.5.2", b"501": b"5.5.4", b"502": b"5.5.1"}
_BUSY = "451 4.3.0 The gateway cannot take mail at this moment; please send it again later"


@dataclass(slots=True)
class Shared:
    """What all sessions of a service share.

    `activity` is set when a session ends or a mail is answered; `guesses` bounds how many passwords are checked at once (16 MiB
    each).
    """

    config: Config
    acceptance: Acceptance
    limits: ConnectionLimits
    auth_required: bool
    starttls: ssl.SSLContext | None
    sessions: set[Session] = field(default_factory=set)
    commits: set[asyncio.Task[str]] = field(default_factory=set)
    activity: asyncio.Event = field(default_factory=asyncio.Event)
    guesses: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))


class SessionEnded(Exception):
    """Ends a session; its text is the last reply."""


class _Verbs(dict[str, Any]):
    """The table of commands, with an answer for those that are none: aiosmtpd counts them by a fixed limit and a 502."""

    def __init__(self, verbs: dict[str, Any], unknown: Callable[[str | None], Awaitable[None]]) -> None:
        super().__init__(verbs)
        self._unknown = unknown

    def get(self, verb: str, default: Any = None) -> Any:
        return super().get(verb, self._unknown)


class Session(SMTP):
    """One connection. `busy` is True from the 354 to the reply after the data."""

    line_length_limit = 4096

    def __init__(self, shared: Shared, *, implicit_tls: bool) -> None:
        # The class shares one table of limits between all sessions; this one is the session's own.
        self.command_size_limits = defaultdict(lambda: 4096)
        smtp = shared.config.smtp
        super().__init__(
            None,
            data_size_limit=smtp.max_size,
            enable_SMTPUTF8=True,
            hostname=smtp.hostname,
            ident="mailbridge ESMTP",
            tls_context=None if implicit_tls else shared.starttls,
            timeout=smtp.timeout,
            auth_required=False,
            auth_require_tls=False,
            loop=asyncio.get_running_loop(),
        )
        self._smtp_methods = _Verbs(self._smtp_methods, self._unknown)
        self._shared, self._implicit_tls, self._max_size = shared, implicit_tls, smtp.max_size
        self._user: str | None = None
        self._data_reader: DataReader | None = None
        self._counted = False
        self._junk = self._failed_logins = 0
        self.busy = False
        self._draft = Draft()

    # the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection, or the TLS layer of one; what was said before STARTTLS is forgotten (RFC 3207 section 4.2)."""
        self._user = None
        peer = transport.get_extra_info("peername")
        # A socket of systemd's for both families shows a client by IPv4 so (RFC 4291 section 2.5.5.2).
        self._client = str(peer[0]).removeprefix("::ffff:") if isinstance(peer, tuple) else "local"
        if not self._counted:
            self._counted = self._shared.limits.acquire(self._client)
        self._shared.sessions.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Give the place at the door back; aiosmtpd cancels the dialogue."""
        if self._counted:
            self._shared.limits.release(self._client)
            self._counted = False
        self._shared.sessions.discard(self)
        self._shared.activity.set()
        if self.transport is not None:
            super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        """Hand bytes to the dialogue, or during DATA to the spool; each chunk restarts the idle clock."""
        if self._data_reader is None:
            super().data_received(data)
        else:
            self._data_reader.put(data)
            self._reset_timeout()

    def hang_up(self, reply: str) -> None:
        """Say a last line and close, in the middle of whatever goes on; a client that does not read is cut after 5 s."""
        if self.transport is None or self.transport.is_closing():
            return
        if self._tls_protocol is None or self._hello_state.ssl is not None:
            self._line.write(reply.encode() + b"\r\n")
        # What was sent ahead is not answered any more.
        self._unread.clear()
        transport = cast(asyncio.Transport, self._original_transport or self.transport)
        transport.close()
        self.loop.call_later(5.0, transport.abort)

    @property
    def _line(self) -> asyncio.Transport:
        return cast(asyncio.Transport, self.transport)

    @property
    def _hello_state(self) -> SmtpState:
        return cast(SmtpState, self.session)

    @property
    def _unread(self) -> bytearray:
        """What the client has sent and nobody has read yet; aiosmtpd itself reaches in here for STARTTLS."""
        return cast(bytearray, self._reader._buffer)  # type: ignore[attr-defined]  # asyncio keeps it private

    def _timeout_cb(self) -> None:
        self.hang_up("421 4.4.2 Nothing was heard for too long; goodbye")

    async def _handle_client(self) -> None:
        try:
            await self._receive_client()
        finally:
            # aiosmtpd closes only in its loop: who hangs up before the greeting, as many a watchdog does, would keep its place.
            self._writer.close()

    async def _receive_client(self) -> None:
        if not self._counted:
            log.session_refused("smtp", client=self._client, reason="too many connections")
            self.hang_up("421 4.7.0 There are too many connections; please try again later")
            return
        # One turn of the loop shows whether the client spoke before it was greeted (RFC 5321 section 4.3.1).
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if self._unread:
            log.session_refused("smtp", client=self._client, reason="spoke before the greeting")
            self.hang_up("554 5.5.0 The client spoke before it was greeted")
            return
        await super()._handle_client()

    async def push(self, status: str | bytes) -> None:
        """Send one reply; too many bad commands end the session."""
        line = status.encode("utf-8", "replace") if isinstance(status, str) else status
        line = _with_code(line.replace(b"\r", b" ").replace(b"\n", b" "))
        await super().push(line)
        if line[:3] in (b"500", b"501", b"502", b"504"):
            self._junk += 1
            if self._junk >= _MOST_JUNK:
                self.hang_up("421 4.7.0 Too many bad commands; goodbye")

    async def handle_exception(self, error: Exception) -> str:
        """Answer what went wrong without telling what."""
        if isinstance(error, Refused):
            return error.reply
        if isinstance(error, TLSSetupException):
            log.session_refused("smtp", client=self._client, reason="TLS did not come about")
        elif not isinstance(error, StoreUnavailable):
            log.session_crashed("smtp", error=f"{type(error).__name__}: {error}")
        return _BUSY

    async def _unknown(self, _: str | None) -> None:
        await self.push("500 5.5.2 This command is not known here")

    # greeting and login

    @property
    def _secure(self) -> bool:
        return self._implicit_tls or self._tls_protocol is not None or is_loopback(self._client)

    async def smtp_HELO(self, hostname: str | None) -> None:
        """HELO (RFC 5321 section 4.1.1.1)."""
        await self._hello(hostname, extended=False)

    async def smtp_EHLO(self, hostname: str | None) -> None:
        """EHLO, in one write."""
        await self._hello(hostname, extended=True)

    async def _hello(self, hostname: str | None, *, extended: bool) -> None:
        if not hostname:
            await self.push("501 5.5.4 Say HELO or EHLO with your name")
            return
        self._set_post_data_state()
        self._hello_state.extended_smtp, self._hello_state.host_name = extended, hostname
        lines = [self.hostname]
        if extended:
            lines += [f"SIZE {self._max_size}", "8BITMIME", "SMTPUTF8", "PIPELINING", "ENHANCEDSTATUSCODES", "DSN"]
            if self.tls_context and self._tls_protocol is None:
                lines.append("STARTTLS")
            if self._secure and self._shared.config.smtp.auth != "off":
                lines.append("AUTH PLAIN LOGIN")
        self._writer.write("".join(f"250-{line}\r\n" for line in lines[:-1]).encode())
        await self.push(f"250 {lines[-1]}")

    async def smtp_STARTTLS(self, arg: str | None) -> None:
        """STARTTLS; offered once, and never inside TLS."""
        if self._tls_protocol is not None or self.tls_context is None:
            await self.push("503 5.5.1 TLS is not offered here")
            return
        await super().smtp_STARTTLS(arg)

    async def smtp_AUTH(self, arg: str | None) -> None:
        """AUTH PLAIN and LOGIN (RFC 4954)."""
        try:
            self._check_auth(arg)
            name, password = await read_login(arg or "", self._ask)
        except Refused as refusal:
            await self.push(refusal.reply)
            return
        async with self._shared.guesses:
            right = await is_right(self._shared.config.users, name, password)
        if not right:
            await self._login_failed()
            return
        await self._shared.acceptance.welcome(name)
        self._user = self._draft.user = name
        await self.push("235 2.7.0 Welcome")

    def _check_auth(self, arg: str | None) -> None:
        if not self._hello_state.extended_smtp or self._shared.config.smtp.auth == "off":
            raise Refused("503 5.5.1 Login is not offered here; say EHLO first")
        if not self._secure:
            raise Refused("538 5.7.11 Passwords are only taken over TLS; turn on STARTTLS in your mail program")
        if self._user is not None or self._draft.sender is not None:
            raise Refused("503 5.5.1 Login has its place once, before MAIL")
        check_syntax(arg)

    async def _ask(self, challenge: bytes) -> bytes:
        await self.push(b"334 " + challenge)
        return bytes(await self._reader.readline())

    async def _login_failed(self) -> None:
        self._failed_logins += 1
        log.session_refused("smtp", client=self._client, reason="wrong name or password")
        await asyncio.sleep(self._shared.limits.failed(self._client, self.loop.time()))
        if self._failed_logins >= _MOST_FAILED_LOGINS:
            self.hang_up("421 4.7.0 Too many wrong passwords; goodbye")
        else:
            await self.push("535 5.7.8 The name or the password is wrong")

    # the envelope

    def _set_post_data_state(self) -> None:
        super()._set_post_data_state()  # type: ignore[no-untyped-call]  # aiosmtpd's has no types
        self._draft = Draft(user=self._user)

    def _check_ready(self) -> None:
        if not self._hello_state.host_name:
            raise Refused("503 5.5.1 Say EHLO first")
        if self._shared.auth_required and self._user is None:
            raise Refused("530 5.7.0 Log in first: this gateway asks for a name and a password")

    async def smtp_MAIL(self, arg: str | None) -> None:
        """MAIL FROM with SIZE, BODY, SMTPUTF8, AUTH, RET and ENVID."""
        await self._answer(self._mail, arg)

    def _mail(self, arg: str | None) -> str:
        self._check_ready()
        if self._draft.sender is not None:
            raise Refused("503 5.5.1 One MAIL at a time; say RSET to begin again")
        sender, parameters = parse_path(arg, "FROM:")
        check_mail(parameters, self._max_size)
        self._shared.acceptance.admit_sender(self._user, sender)
        self._draft.sender = sender
        self._draft.ret, self._draft.envid = parameters.get("RET"), parameters.get("ENVID")
        return "250 2.1.0 OK"

    async def smtp_RCPT(self, arg: str | None) -> None:
        """RCPT TO with NOTIFY and ORCPT."""
        await self._answer(self._rcpt, arg)

    def _rcpt(self, arg: str | None) -> str:
        self._check_ready()
        if self._draft.sender is None:
            raise Refused("503 5.5.1 Say MAIL first")
        address, parameters = parse_path(arg, "TO:")
        check_rcpt(parameters)
        self._shared.acceptance.admit_recipient(self._draft, address, parameters.get("NOTIFY"), parameters.get("ORCPT"))
        return "250 2.1.5 OK"

    async def _answer(self, verb: Callable[[str | None], str], arg: str | None) -> None:
        try:
            reply = verb(arg)
        except Refused as refusal:
            reply = refusal.reply
            log.mail_refused(self._draft.id, client=self._client, reply=reply)
        await self.push(reply)

    async def smtp_VRFY(self, arg: str | None) -> None:
        """VRFY tells nothing (RFC 5321 section 7.3)."""
        await self.push("252 2.5.0 Send the mail and you will hear")

    async def smtp_HELP(self, arg: str | None) -> None:
        """HELP."""
        await self.push("214 2.0.0 Send a mail to NUMBER@ one of this gateway's domains")

    # the data

    async def smtp_DATA(self, arg: str | None) -> None:
        """DATA, streamed to the spool; 250 when mail and faxes are durable."""
        try:
            self._check_ready()
            if not self._draft.recipients:
                raise Refused("503 5.5.1 No recipient was accepted")
            if arg:
                raise Refused("501 5.5.4 Syntax: DATA")
        except Refused as refusal:
            await self.push(refusal.reply)
            return
        self.busy = True
        try:
            reply = await self._receive()
        except SessionEnded as farewell:
            self.hang_up(str(farewell))
            return
        except (Refused, StoreUnavailable) as error:
            reply = error.reply if isinstance(error, Refused) else _BUSY
            log.mail_refused(self._draft.id, client=self._client, reply=reply, reason=str(error))
        finally:
            self.busy = False
            self._shared.activity.set()
            self._reset_timeout()
        self._junk = 0
        self._set_post_data_state()
        await self.push(reply)

    async def _receive(self) -> str:
        draft = self._draft
        file = self._shared.acceptance.open(draft)
        try:
            await self._spool(file)
        except BaseException:
            file.abort()
            raise
        # A client that hangs up now cancels this coroutine, not the commit: the mail is then whole in the store, or not at all.
        commit = self.loop.create_task(self._shared.acceptance.accept(draft, file))
        self._shared.commits.add(commit)
        commit.add_done_callback(self._committed)
        if self._timeout_handle is not None:
            self._timeout_handle.cancel()
        return await asyncio.shield(commit)

    def _committed(self, commit: asyncio.Task[str]) -> None:
        self._shared.commits.discard(commit)
        if not commit.cancelled():
            commit.exception()

    async def _spool(self, file: SpoolFile) -> None:
        """Write the data into `file` up to its end, then give the line back to the dialogue. Raises SessionEnded, Refused."""
        begun, failures = self.loop.time(), list[Exception]()

        def keep(content: bytes, size: int, whole: bool) -> None:
            # What failed is told when the mail ends, so that the client hears it and the session stays usable.
            if not failures:
                failures.extend(self._failure(file, content, size))
            if not whole:
                self._check_pace(size, self.loop.time() - begun)

        data_reader = DataReader(keep)
        if self._unread:
            data_reader.put(bytes(self._unread))
            self._unread.clear()
            self._reader._maybe_resume_transport()  # type: ignore[attr-defined]  # as `_unread` above
        self._data_reader = data_reader
        try:
            await self.push("354 End the mail with a dot on a line of its own")
            rest = await data_reader.end()
        finally:
            self._data_reader = None
        if rest:
            super().data_received(rest)
        if failures:
            raise failures[0]

    def _failure(self, file: SpoolFile, content: bytes, size: int) -> list[Exception]:
        """Write, and return what failed. A piece is what one read of a socket brings: a thread would cost more than the write."""
        if size > self._max_size:
            return [Refused(f"552 5.3.4 The mail is larger than the {self._max_size} bytes that are taken here")]
        try:
            file.write(content)
        except StoreUnavailable as error:
            return [error]
        return []

    def _check_pace(self, size: int, elapsed: float) -> None:
        if size > self._max_size + _MOST_BEYOND:
            raise SessionEnded("421 4.3.4 The mail is far larger than what is taken here; goodbye")
        if elapsed > min(self._timeout_duration + size / _SLOWEST, _LONGEST_DATA):
            raise SessionEnded("421 4.4.2 The mail came too slowly; goodbye")


def _with_code(line: bytes) -> bytes:
    code, _, words = line.partition(b" ")
    if line in _WORDS:
        return _WORDS[line]
    return line if code not in _CODES or words[1:2] == b"." else b" ".join((code, _CODES[code], words))
