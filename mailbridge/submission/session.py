"""One SMTP session: the dialogue with one client (RFC 5321), from the greeting to QUIT.

A mail is answered 250 only when `Acceptance` has it durable in the store. Until then nothing of it counts: whatever fails, or
whoever hangs up, leaves the store as it was. The client then sends the mail again, as SMTP asks it to.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from time import perf_counter

from mailbridge import log, metrics
from mailbridge.config import is_loopback
from mailbridge.errors import Refused, StoreUnavailable
from mailbridge.store.spool import NewMail
from mailbridge.submission.client_connection import TEMPORARY_FAILURE, ClientConnection
from mailbridge.submission.commands import check_mail, check_rcpt, parse_path
from mailbridge.submission.data_reader import DataReader
from mailbridge.submission.limits import LOGGED_REFUSALS, MAX_FAILED_LOGINS, SessionEnded
from mailbridge.submission.login import LoginFailed, check_syntax
from mailbridge.submission.mail_transaction import MailTransaction
from mailbridge.submission.session_context import SessionOptions, SessionServices
from mailbridge.submission.turns import DEAR_COMMAND, RECIPIENT
from mailbridge.tls_handshake import client_address


class Session(ClientConnection):
    """One dialogue."""

    def __init__(self, options: SessionOptions, services: SessionServices, *, implicit_tls: bool) -> None:
        super().__init__(options, services, implicit_tls=implicit_tls)
        self._user: str | None = None
        self._logged_in = False
        self._transaction = MailTransaction()
        self._data: DataReader | None = None
        self._failed_logins = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin without a login. STARTTLS calls this again, and ends the login (RFC 3207 section 4.2)."""
        self._user = self._services.networks.user_of(client_address(transport))
        self._logged_in = False
        super().connection_made(transport)

    async def run_commands(self) -> None:
        """Greet the client and answer its commands."""
        if self._user is not None:
            self.logged_in()
            with contextlib.suppress(StoreUnavailable):  # the store's own count decides before the 250
                await self._services.daily_limits.load(self._user)
        await super().run_commands()

    def idle_timed_out(self) -> None:
        """Close an idle connection. In the middle of a mail the reply says what is missing."""
        waiting = "waiting for client" if self._data is None else f"waiting for the end of data: {self._data.seen}"
        self.hang_up(f"421 4.4.2 Timeout {waiting}; closing connection")

    # greeting and login

    async def smtp_HELO(self, hostname: str | None) -> None:
        """HELO (RFC 5321 section 4.1.1.1)."""
        if hostname:
            self.begin_session(hostname, extended=False)
            await self.push(f"250 {self.hostname}")
        else:
            await self.push("501 5.5.4 Syntax: HELO hostname")

    async def smtp_EHLO(self, hostname: str | None) -> None:
        """EHLO (RFC 5321 section 4.1.1.1), in one write."""
        if not hostname:
            await self.push("501 5.5.4 Syntax: EHLO hostname")
            return
        self.begin_session(hostname, extended=True)
        *lines, last = [self.hostname, *self._extensions()]
        self.write_lines([f"250-{line}" for line in lines])
        await self.push(f"250 {last}")

    def _extensions(self) -> list[str]:
        offered = [f"SIZE {self._options.data.max_size}", "8BITMIME", "SMTPUTF8", "PIPELINING", "ENHANCEDSTATUSCODES", "DSN"]
        if self.starttls_offered:
            offered.append("STARTTLS")
        if self._options.auth_offered and self._encrypted_or_local:
            offered.append("AUTH PLAIN LOGIN")
        return offered

    @property
    def _encrypted_or_local(self) -> bool:
        return self.encrypted or is_loopback(self.client)

    async def smtp_STARTTLS(self, arg: str | None) -> None:
        """STARTTLS (RFC 3207); offered once, and never inside TLS."""
        if arg:
            await self.push("501 5.5.4 Syntax: STARTTLS")
        elif self.starttls_offered:
            await self.start_tls()
        else:
            await self.push("503 5.5.1 STARTTLS is not available, or TLS is already active")

    async def smtp_AUTH(self, arg: str | None) -> None:
        """AUTH PLAIN and LOGIN (RFC 4954)."""
        try:
            self._check_auth(arg)
            name = await self._services.authenticator.authenticate(arg or "", self._challenge, self.client)
        except LoginFailed as failure:
            await self._login_failed(failure)
        except Refused as refusal:
            await self.push(refusal.reply)
        else:
            await self._services.daily_limits.load(name)
            self._user = self._transaction.user = name
            self._logged_in = True
            self.logged_in()
            await self.push("235 2.7.0 Authentication succeeded")

    def _check_auth(self, arg: str | None) -> None:
        if not self.extended or not self._options.auth_offered:
            raise Refused("503 5.5.1 Authentication is not available, or EHLO is missing")
        if not self._encrypted_or_local:
            raise Refused("538 5.7.11 Encryption required: turn on STARTTLS in your mail program")
        if self._logged_in or self._transaction.sender is not None:
            raise Refused("503 5.5.1 Already authenticated, or mail transaction in progress")
        check_syntax(arg)

    async def _challenge(self, challenge: bytes) -> bytes:
        await self.push(b"334 " + challenge)
        return await self.read_line()

    async def _login_failed(self, failure: LoginFailed) -> None:
        self._failed_logins += 1
        if self._failed_logins >= MAX_FAILED_LOGINS:
            self.hang_up("421 4.7.0 Too many failed logins; closing connection")
        else:
            metrics.refused(failure.reply)
            await self.push(failure.reply)

    # the mail transaction

    def transaction_ended(self) -> None:
        """Begin a new mail transaction."""
        self._transaction = MailTransaction(user=self._user, client=self.client)

    def _check_ready(self) -> None:
        if not self.client_name:
            raise Refused("503 5.5.1 Send EHLO first")
        if self._options.auth_required and self._user is None:
            raise Refused("530 5.7.0 Authentication required: set a user name and a password in your mail program")

    async def smtp_MAIL(self, arg: str | None) -> None:
        """MAIL FROM with SIZE, BODY, SMTPUTF8, AUTH, RET and ENVID."""
        await self._answer(self._mail, arg)

    def _mail(self, arg: str | None) -> str:
        self._check_ready()
        if self._transaction.sender is not None:
            raise Refused("503 5.5.1 Nested MAIL command")
        sender, parameters = parse_path(arg, "FROM:")
        check_mail(parameters, self._options.data.max_size)
        self._services.admission.set_sender(self._transaction, sender)
        self._transaction.ret, self._transaction.envid = parameters.get("RET"), parameters.get("ENVID")
        self._transaction.announced = int(parameters.get("SIZE", "0"))
        self.stop_login_timer()
        return "250 2.1.0 OK"

    async def smtp_RCPT(self, arg: str | None) -> None:
        """RCPT TO with NOTIFY and ORCPT."""
        await self._answer(self._rcpt, arg)

    def _rcpt(self, arg: str | None) -> str:
        self._check_ready()
        if self._transaction.sender is None:
            raise Refused("503 5.5.1 Need MAIL command")
        address, parameters = parse_path(arg, "TO:")
        check_rcpt(parameters)
        self._services.turns.spend(self.client_group, RECIPIENT)
        self._services.admission.add_recipient(self._transaction, address, parameters.get("NOTIFY"), parameters.get("ORCPT"))
        return "250 2.1.5 OK"

    async def _answer(self, command: Callable[[str | None], str], arg: str | None) -> None:
        began = perf_counter()
        try:
            reply = command(arg)
        except Refused as refusal:
            reply = refusal.reply
            self._log_refusal(reply)
        # Such as a name for which a like one is looked for among the contacts.
        if (seconds := perf_counter() - began) > DEAR_COMMAND:
            self._services.turns.rest(self.client_group, 2 * seconds)
        await self.push(reply)

    def _log_refusal(self, reply: str) -> None:
        metrics.refused(reply)
        if self.limits.refusals <= LOGGED_REFUSALS:
            last = {"note": "further ones of this session have no line"} if self.limits.refusals == LOGGED_REFUSALS else {}
            self.log_line(log.mail_refused, self._transaction.id, **self._who(), reply=reply, **last)

    def _who(self) -> dict[str, str | None]:
        return {"user": self._user, "sender": self._transaction.sender}

    async def smtp_VRFY(self, arg: str | None) -> None:
        """VRFY, which confirms no address (RFC 5321 section 7.3)."""
        await self.push("252 2.5.0 Cannot VRFY user, but will accept message")

    async def smtp_HELP(self, arg: str | None) -> None:
        """HELP."""
        await self.push("214 2.0.0 To send a fax, address the mail to NUMBER at one of this gateway's domains")

    # the data

    async def smtp_DATA(self, arg: str | None) -> None:
        """DATA; 250 when the mail and its faxes are durable."""
        try:
            self._check_data(arg)
        except Refused as refusal:
            await self.push(refusal.reply)
            return
        self.busy = True
        try:
            reply = await self._receive_mail()
        except SessionEnded as end:
            self.hang_up(str(end))
            return
        except Refused as refusal:
            reply = refusal.reply
            metrics.refused(reply)
            self.log_line(log.mail_refused, self._transaction.id, **self._who(), reply=reply)
        except StoreUnavailable as error:
            reply = TEMPORARY_FAILURE
            metrics.refused(reply)
            self.log_line(log.mail_not_stored, self._transaction.id, **self._who(), error=str(error))
        finally:
            self.busy = self.is_committing = False
            self._services.active.mail_answered()
            self.restart_idle_timer()
            # Also after an unexpected error (RFC 5321 section 4.1.1.4): the client's next mail would get a 503.
            self.end_transaction()
        self.limits.mail_answered()
        await self.push(reply)

    def _check_data(self, arg: str | None) -> None:
        self._check_ready()
        if not self._transaction.recipients:
            raise Refused("503 5.5.1 No valid recipients")
        if arg:
            raise Refused("501 5.5.4 Syntax: DATA")

    async def _receive_mail(self) -> str:
        """Return the reply to the mail that follows. Raises SessionEnded, Refused, StoreUnavailable."""
        file = self._services.acceptance.receive(self._transaction)
        try:
            await self._receive_data(file)
        except BaseException:
            file.abort()
            raise
        self.stop_idle_timer()
        self.is_committing = True
        return await self._services.active.commit(self._services.acceptance.accept(self._transaction, file))

    @property
    def writing(self) -> asyncio.Future[None] | None:
        """The write of data that is under way in a thread."""
        return self._data.writing if self._data is not None else None

    @property
    def has_all_data(self) -> bool:
        """Whether the end of a mail's data has come."""
        return self._data is not None and self._data.has_ended

    async def _receive_data(self, file: NewMail) -> None:
        self._data = reader = DataReader(file, self._options.data, self.loop.time)
        try:
            with self.raw_input(reader.put):
                await self.push("354 End data with <CR><LF>.<CR><LF>")
                rest = await reader.end()
        except BaseException as error:
            self.log_line(log.data_incomplete, self._transaction.id, **self._who(), bytes=reader.size, seen=reader.seen)
            if not isinstance(error, Exception) or isinstance(error, SessionEnded | ConnectionError):
                raise
            # In an open session the rest of the mail would be read as commands.
            log.session_crashed(self._transaction.id, error=f"{type(error).__name__}: {error}")
            raise SessionEnded(f"421{TEMPORARY_FAILURE[3:]}") from error
        finally:
            self._data = None
        if rest:
            self.give_back(rest)
        if reader.failure is not None:
            raise reader.failure
        self._transaction.line_ends_changed = reader.line_ends_changed
