"""One IMAP connection: TLS, login and the commands that mailbridge needs. None of them waits for ever.

Section numbers are those of RFC 3501; RFC 9051 (IMAP4rev2) keeps every command that is used here.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Sequence
from typing import Any, Literal

from aioimaplib.aioimaplib import (
    AUTH,
    NONAUTH,
    SELECTED,
    AioImapException,
    Command,
    FetchCommand,
    IdleCommand,
    Response,
    quoted,
)

from mailbridge.errors import LoginRefused, MailboxError
from mailbridge.happy_eyeballs import open_socket
from mailbridge.report.imap_authentication import Exchange, by_password, by_token, decode_sasl, scrubbed
from mailbridge.report.imap_protocol import ImapProtocol
from mailbridge.report.imap_refusal import explained, is_login_refusal
from mailbridge.report.imap_responses import (
    FIRST_BYTES,
    FetchedMail,
    Folder,
    modified_utf7,
    read_fetch,
    read_folder,
    read_uids,
    uid_set,
)

# Bytes of the longest mail that is read.
MAX_LITERAL = 32 * 1024 * 1024
# Seconds between looks at a server that has no IDLE, or that ends IDLE by itself.
POLL_SECONDS = 15.0
# Seconds that one command may take in all, however slowly its answer comes.
LONGEST_COMMAND = 600.0


class Connection:
    """A connection, up to a selected folder. Every method raises MailboxError; `lost` says whether the connection is gone."""

    def __init__(self, protocol: ImapProtocol, timeout: float) -> None:
        self._protocol, self._timeout = protocol, timeout
        self.capabilities: frozenset[str] = frozenset()

    @classmethod
    async def open(
        cls,
        host: str,
        port: int,
        tls: Literal["implicit", "starttls", "none"],
        *,
        context: ssl.SSLContext | None = None,
        timeout: float = 30.0,
        max_literal: int = MAX_LITERAL,
    ) -> Connection:
        """Connect and set up TLS; the login comes next. A server that is silent for `timeout` seconds loses its connection."""
        loop = asyncio.get_running_loop()
        context = context or (ssl.create_default_context() if tls != "none" else None)
        protocol = ImapProtocol(loop, max_literal)
        secure: dict[str, Any] = {"ssl": context, "server_hostname": host} if tls == "implicit" else {}
        try:
            async with asyncio.timeout(timeout):
                await loop.create_connection(lambda: protocol, sock=await open_socket(host, port), **secure)
                greeting = await protocol.greeting
            connection = cls(protocol, timeout)
            await connection._greet(greeting, tls, context, host)
        except TimeoutError:
            protocol.fail("no answer")
            raise MailboxError(f"{host}:{port} does not answer within {timeout:g} s") from None
        except (OSError, ssl.SSLError) as error:
            protocol.fail("not reached")
            raise MailboxError(f"{host}:{port} cannot be reached: {_fault(error)}") from None
        except BaseException:
            protocol.fail("given up")
            raise
        return connection

    async def _greet(self, greeting: bytes, tls: str, context: ssl.SSLContext | None, host: str) -> None:
        """Accept the greeting OK (section 7.1.1). With PREAUTH (7.1.4) no STARTTLS would be possible any more."""
        if greeting[:4].upper() != b"* OK":
            raise MailboxError(f"the server greets with {greeting[:200].decode('utf-8', 'replace')!r}")
        self._protocol.state = NONAUTH
        if tls == "starttls":
            await self._start_tls(context, host)
        await self._read_capabilities()

    async def _start_tls(self, context: ssl.SSLContext | None, host: str) -> None:
        """STARTTLS (section 6.2.1)."""
        await self._execute(self._command("STARTTLS"))
        if self._protocol.has_unread:
            raise MailboxError("the server sent more after STARTTLS; somebody may sit in between")
        loop = asyncio.get_running_loop()
        try:
            assert context is not None
            self._protocol.transport = await loop.start_tls(
                self._protocol.transport, self._protocol, context, server_hostname=host, ssl_handshake_timeout=self._timeout
            )
        except (OSError, ssl.SSLError) as error:
            raise MailboxError(f"TLS with {host} failed: {_fault(error)}") from None

    async def login(self, username: str, password: str) -> None:
        """Log in by password. It goes into no log and no error. Raises LoginRefused if the server does not accept it."""
        await self._authenticate(by_password(username, password, self.capabilities))

    async def xoauth2(self, username: str, token: str) -> None:
        """Log in by an access token, which goes into no log. Raises LoginRefused if the server does not accept it."""
        await self._authenticate(by_token(username, token, self.capabilities))

    async def _authenticate(self, exchange: Exchange) -> None:
        self._protocol.replies, self._protocol.sasl_error = list(exchange.replies), b""
        try:
            await self._execute(self._command(exchange.command, *exchange.args), exchange.secrets)
        except MailboxError as error:
            text = f"{error} {decode_sasl(self._protocol.sasl_error)}".rstrip()
            text = scrubbed(text, exchange.secrets)
            refused = not self.lost and is_login_refusal(text)
            raise (LoginRefused if refused else MailboxError)(text) from None
        self._protocol.state = AUTH
        await self._read_capabilities()

    async def select(self, name: str) -> Folder:
        """Open a folder for reading and writing (section 6.3.1)."""
        lines = await self._execute(self._command("SELECT", quoted(modified_utf7(name))))
        self._protocol.state = SELECTED
        folder = read_folder(lines)
        if folder is None:
            raise MailboxError(f"the server gives folder {name} no UIDVALIDITY")
        return folder

    async def search(self, criteria: str) -> list[int]:
        """Return the UIDs that UID SEARCH finds (sections 6.4.4 and 6.4.8), in ascending order."""
        lines = await self._execute(self._command("SEARCH", criteria, prefix="UID"))
        return read_uids(lines[:-1])

    async def fetch(self, uids: Sequence[int], *, part: str = "", first: int | None = FIRST_BYTES) -> list[FetchedMail]:
        """Fetch these mails (at most BATCH), each cut to its `first` bytes; BODY.PEEK leaves \\Seen unset (section 6.4.5).

        Returned in the order of their UIDs. A mail that no longer exists is absent, and one that was not requested is dropped.
        """
        self._protocol.fetch_responses = []
        cut = f"<0.{first}>" if first is not None else ""
        items = f"(UID RFC822.SIZE BODY.PEEK[{part}]{cut})"
        await self._execute(FetchCommand(self._protocol.new_tag(), uid_set(uids), items, prefix="UID", loop=self._protocol.loop))
        responses, self._protocol.fetch_responses = self._protocol.fetch_responses, []
        mails = {mail.uid: mail for response in responses if (mail := read_fetch(response)) is not None and mail.uid in uids}
        return [mails[uid] for uid in sorted(mails)]

    async def mark_seen(self, uids: Sequence[int]) -> None:
        """Set \\Seen (sections 2.3.2 and 6.4.6)."""
        await self._add_flags(uid_set(uids), r"(\Seen)")

    async def move(self, uids: Sequence[int], folder: str) -> None:
        """Move mails to another folder with MOVE (RFC 6851), or else by copying and deleting them."""
        target = quoted(modified_utf7(folder))
        if "MOVE" in self.capabilities:
            await self._execute(self._command("MOVE", uid_set(uids), target, prefix="UID"))
            return
        await self._execute(self._command("COPY", uid_set(uids), target, prefix="UID"))
        await self._add_flags(uid_set(uids), r"(\Deleted)")
        # UID EXPUNGE (RFC 4315) removes these alone. A plain EXPUNGE would also remove what a person has marked as deleted.
        if "UIDPLUS" in self.capabilities:
            await self._execute(self._command("EXPUNGE", uid_set(uids), prefix="UID"))

    @property
    def lost(self) -> bool:
        """Whether the connection is gone."""
        return self._protocol.lost is not None

    async def noop(self) -> None:
        """Check that the server still answers; it reports new mail beside the answer (section 6.1.2)."""
        await self._execute(self._command("NOOP"))

    @property
    def exists_received(self) -> bool:
        """Whether an EXISTS (section 7.3.1) came since `clear_exists`."""
        return self._protocol.exists.is_set()

    def clear_exists(self) -> None:
        """Let only an EXISTS from now on count."""
        self._protocol.exists.clear()

    async def wait_for_exists(self, seconds: float) -> None:
        """Return at the next EXISTS, or after `seconds`; with IDLE (RFC 2177) where the server has it, else sooner."""
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(self._protocol.exists.wait())]
        try:
            if "IDLE" not in self.capabilities:
                await asyncio.wait(tasks, timeout=min(seconds, POLL_SECONDS))
            else:
                await self._idle(tasks, seconds)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._protocol.lost is not None:
            raise MailboxError(self._protocol.lost)

    async def _idle(self, tasks: list[asyncio.Task[Any]], seconds: float) -> None:
        protocol, [exists] = self._protocol, tasks
        protocol.start_command()
        idle = asyncio.create_task(protocol.execute(IdleCommand(protocol.new_tag(), protocol.idle_queue, loop=protocol.loop)))
        started = asyncio.create_task(protocol.idle_started().wait())
        tasks += [idle, started]
        await asyncio.wait({idle, started}, timeout=self._timeout, return_when=asyncio.FIRST_COMPLETED)
        if not started.done() and not idle.done():
            protocol.fail("the server does not begin to idle")
            return
        await asyncio.wait({idle, exists}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if idle.done():  # refused, or ended by the server, which may do so again at once
            await asyncio.wait({exists}, timeout=min(seconds, POLL_SECONDS))
        else:
            protocol.end_idle()
            await asyncio.wait({idle}, timeout=self._timeout)
            if not idle.done():
                protocol.fail("the server does not answer any more")

    def close(self) -> None:
        """End the connection without waiting: LOGOUT would save nothing."""
        self._protocol.fail("closed")

    def _command(self, name: str, *args: str, prefix: str | None = None) -> Command:
        untagged, protocol = "FETCH" if name == "STORE" else name, self._protocol
        try:
            return Command(name, protocol.new_tag(), *args, prefix=prefix, untagged_resp_name=untagged, loop=protocol.loop)
        except ValueError as error:
            raise MailboxError(str(error)) from None

    async def _read_capabilities(self) -> None:
        """CAPABILITY (section 6.1.1), anew after TLS and after the login, since both change it (section 6.2)."""
        lines = await self._execute(self._command("CAPABILITY"))
        self.capabilities = frozenset(b" ".join(lines[:-1]).decode("ascii", "replace").upper().split())
        self._protocol.capabilities = set(self.capabilities)

    async def _add_flags(self, uids: str, flags: str) -> None:
        await self._execute(self._command("STORE", uids, "+FLAGS.SILENT", flags, prefix="UID"))

    async def _execute(self, command: Command, secrets: Sequence[str] = ()) -> list[bytes]:
        """Run a command and return the lines of its answer, the tagged one last. A NO or BAD is raised with the server's text.

        `secrets` are texts that the error must not repeat.
        """
        response = await self._wait_for_answer(command, secrets[-1] if secrets else None)
        if response.result.upper() != "OK":
            text = bytes(response.lines[-1]).decode("utf-8", "replace") if response.lines else ""
            raise MailboxError(f"the server refuses {command.name}: {explained(scrubbed(text, secrets)[:200])}")
        lines: list[bytes] = response.lines
        return lines

    async def _wait_for_answer(self, command: Command, scrub: str | None) -> Response:
        protocol = self._protocol
        if protocol.lost is not None:
            raise MailboxError(protocol.lost)
        protocol.start_command()
        sent = now = protocol.loop.time()
        task = asyncio.ensure_future(protocol.execute(command, scrub=scrub))
        try:
            while not task.done():
                # Silence counts from the last bytes, not from the command.
                deadline = min(max(protocol.last_received, sent) + self._timeout, sent + LONGEST_COMMAND)
                if deadline <= now:
                    protocol.fail(f"the server does not answer {command.name}")
                await asyncio.wait({task}, timeout=max(0.0, deadline - now))
                now = protocol.loop.time()
            return task.result()
        except AioImapException as error:
            raise MailboxError(protocol.lost or str(error)) from None
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, AioImapException):
                await task


def _fault(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    return str(error) or type(error).__name__
