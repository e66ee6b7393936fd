"""One IMAP connection on aioimaplib, made safe: TLS, login and the commands that we need, none of them left hanging."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
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

from mailbridge.errors import MailboxError
from mailbridge.report.imap_protocol import FIRST_BYTES, ImapProtocol

MAX_LITERAL = 32 * 1024 * 1024
# Without IDLE, or where the server ends it by itself, look again so often (seconds).
POLL_SECONDS = 15.0
# No command, however its answer drips, takes longer than this (seconds).
LONGEST_COMMAND = 600.0

_VALIDITY = re.compile(rb"\[UIDVALIDITY (\d{1,10})", re.IGNORECASE)
_FOLLOWING = re.compile(rb"\[UIDNEXT (\d{1,10})", re.IGNORECASE)
_UID = re.compile(rb"\bUID (\d{1,10})\b", re.IGNORECASE)
_SIZE = re.compile(rb"\bRFC822\.SIZE (\d{1,18})\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Fetched:
    """One mail, or its beginning. `size` is the whole mail's in bytes as the server tells it: Exchange estimates; 0 is untold."""

    uid: int
    size: int
    content: bytes

    @property
    def whole(self) -> bool:
        """Whether `content` is all of it: a piece that is as long as was asked for may go on, whatever `size` says."""
        return len(self.content) != FIRST_BYTES or self.size == FIRST_BYTES


@dataclass(frozen=True, slots=True)
class Folder:
    """What SELECT told. `uidnext` is None where the server did not say."""

    uidvalidity: int
    uidnext: int | None


def utf7(name: str) -> str:
    """Return a folder's name in modified UTF-7 (RFC 3501 section 5.1.3)."""

    def shift(match: re.Match[str]) -> str:
        return "&" + base64.b64encode(match[0].encode("utf-16-be")).decode().rstrip("=").replace("/", ",") + "-"

    return re.sub(r"[^\x20-\x7e]+", shift, name.replace("&", "&-"))


class Connection:
    """A logged-in connection. Every method raises MailboxError, after which the connection is of no more use."""

    def __init__(self, wire: ImapProtocol, timeout: float) -> None:
        self._wire, self._timeout = wire, timeout
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
        """Connect, with TLS by choice, up to where LOGIN may be given. `timeout` is in seconds of silence."""
        loop = asyncio.get_running_loop()
        context = context or (ssl.create_default_context() if tls != "none" else None)
        wire = ImapProtocol(loop, max_literal)
        secure: dict[str, Any] = {"ssl": context, "server_hostname": host} if tls == "implicit" else {}
        try:
            async with asyncio.timeout(timeout):
                await loop.create_connection(lambda: wire, host, port, **secure)
                greeting = await wire.greeting
            connection = cls(wire, timeout)
            await connection._greet(greeting, tls, context, host)
        except TimeoutError:
            wire.fail("silence")
            raise MailboxError(f"{host}:{port} does not answer within {timeout:g} s") from None
        except (OSError, ssl.SSLError) as error:
            wire.fail("not reached")
            raise MailboxError(f"{host}:{port} cannot be reached: {_fault(error)}") from None
        except BaseException:
            wire.fail("given up")
            raise
        return connection

    async def _greet(self, greeting: bytes, tls: str, context: ssl.SSLContext | None, host: str) -> None:
        if greeting[:4].upper() != b"* OK":
            raise MailboxError(f"the server greets with {greeting[:200].decode('utf-8', 'replace')!r}")
        self._wire.state = NONAUTH
        if tls == "starttls":
            await self._start_tls(context, host)
        await self._ask_capabilities()

    async def _start_tls(self, context: ssl.SSLContext | None, host: str) -> None:
        await self._ok(self._command("STARTTLS"))
        if self._wire.unread():
            raise MailboxError("the server sent more after STARTTLS; somebody may sit in between")
        loop = asyncio.get_running_loop()
        try:
            assert context is not None
            upgraded = loop.start_tls(
                self._wire.transport, self._wire, context, server_hostname=host, ssl_handshake_timeout=self._timeout
            )
            self._wire.transport = await upgraded
        except (OSError, ssl.SSLError) as error:
            raise MailboxError(f"TLS with {host} failed: {_fault(error)}") from None

    async def login(self, username: str, password: str) -> None:
        """Log in with LOGIN. The password goes into no log and no error."""
        if "LOGINDISABLED" in self.capabilities:
            raise MailboxError("the server refuses passwords on this connection; set tls to implicit or starttls")
        await self._ok(self._command("LOGIN", quoted(username), quoted(password)), scrub=quoted(password)[1:-1])
        self._wire.state = AUTH
        await self._ask_capabilities()

    async def xoauth2(self, username: str, token: str) -> None:
        """Log in with AUTHENTICATE XOAUTH2, as Google and Microsoft do. The token goes into no log and no error."""
        if "AUTH=XOAUTH2" not in self.capabilities:
            raise MailboxError("the server offers no XOAUTH2 on this connection; set tls to implicit or starttls, or a password")
        first = base64.b64encode(f"user={username}\x01auth=Bearer {token}\x01\x01".encode()).decode()
        initial = [first] if "SASL-IR" in self.capabilities else []
        self._wire.replies, self._wire.challenge = [] if initial else [first.encode()], b""
        try:
            await self._ok(self._command("AUTHENTICATE", "XOAUTH2", *initial), scrub=first)
        except MailboxError as error:
            told = _unpacked(self._wire.challenge).replace(token, "***")
            raise MailboxError(f"{error} {told}".rstrip()) from None
        self._wire.state = AUTH
        await self._ask_capabilities()

    async def select(self, folder: str) -> Folder:
        """Open a folder for reading and writing."""
        lines = await self._ok(self._command("SELECT", quoted(utf7(folder))))
        self._wire.state = SELECTED
        text = b"\n".join(lines)
        validity, following = _VALIDITY.search(text), _FOLLOWING.search(text)
        if validity is None:
            raise MailboxError(f"the server gives folder {folder} no UIDVALIDITY")
        return Folder(int(validity[1]), int(following[1]) if following else None)

    async def search(self, criteria: str) -> list[int]:
        """Return the UIDs that UID SEARCH finds, in ascending order."""
        lines = await self._ok(self._command("SEARCH", criteria, prefix="UID"))
        return sorted({int(uid) for line in lines[:-1] for uid in line.split() if uid.isdigit()})

    async def fetch(self, uids: Sequence[int], *, part: str = "", first: int | None = FIRST_BYTES) -> list[Fetched]:
        """Fetch these mails (at most 100), each cut to its `first` bytes, without setting \\Seen.

        Returned in the order of their UIDs; one that is not there is absent, and one that was not asked for is dropped.
        """
        self._wire.fetched = []
        cut = f"<0.{first}>" if first is not None else ""
        wanted = f"(UID RFC822.SIZE BODY.PEEK[{part}]{cut})"
        await self._ok(FetchCommand(self._wire.new_tag(), _uid_set(uids), wanted, prefix="UID", loop=self._wire.loop))
        answers, self._wire.fetched = self._wire.fetched, []
        mails = {mail.uid: mail for answer in answers if (mail := _read_fetch(answer)) is not None and mail.uid in uids}
        return [mails[uid] for uid in sorted(mails)]

    async def seen(self, uids: Sequence[int]) -> None:
        """Set \\Seen."""
        await self._store(_uid_set(uids), r"(\Seen)")

    async def move(self, uids: Sequence[int], folder: str) -> None:
        """Move mails to another folder: with MOVE (RFC 6851), or by copy and delete."""
        target = quoted(utf7(folder))
        if "MOVE" in self.capabilities:
            await self._ok(self._command("MOVE", _uid_set(uids), target, prefix="UID"))
            return
        await self._ok(self._command("COPY", _uid_set(uids), target, prefix="UID"))
        await self._store(_uid_set(uids), r"(\Deleted)")
        # A plain EXPUNGE would also remove what a person has marked as deleted and may still want back.
        if "UIDPLUS" in self.capabilities:
            await self._ok(self._command("EXPUNGE", _uid_set(uids), prefix="UID"))

    @property
    def lost(self) -> bool:
        """Whether the connection is gone."""
        return self._wire.lost is not None

    async def noop(self) -> None:
        """Ask for a sign of life."""
        await self._ok(self._command("NOOP"))

    def forget_news(self) -> None:
        """From now on only a new EXISTS counts as news."""
        self._wire.news.clear()

    @property
    def has_news(self) -> bool:
        """Whether an EXISTS came since `forget_news`."""
        return self._wire.news.is_set()

    async def wait_for_news(self, seconds: float) -> None:
        """Return at the next EXISTS, or after `seconds`; with IDLE (RFC 2177) where the server has it, else sooner."""
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(self._wire.news.wait())]
        try:
            if "IDLE" not in self.capabilities:
                await asyncio.wait(tasks, timeout=min(seconds, POLL_SECONDS))
            else:
                await self._idle(tasks, seconds)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._wire.lost is not None:
            raise MailboxError(self._wire.lost)

    async def _idle(self, tasks: list[asyncio.Task[Any]], seconds: float) -> None:
        wire, [news] = self._wire, tasks
        wire.begin()
        idle = asyncio.create_task(wire.execute(IdleCommand(wire.new_tag(), wire.idle_queue, loop=wire.loop)))
        started = asyncio.create_task(wire.idle_started().wait())
        tasks += [idle, started]
        await asyncio.wait({idle, started}, timeout=self._timeout, return_when=asyncio.FIRST_COMPLETED)
        if not started.done() and not idle.done():
            wire.fail("the server does not begin to idle")
            return
        await asyncio.wait({idle, news}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if idle.done():  # refused, or ended by the server, which may do so again at once
            await asyncio.wait({news}, timeout=min(seconds, POLL_SECONDS))
        else:
            wire.idle_done()
            await asyncio.wait({idle}, timeout=self._timeout)
            if not idle.done():
                wire.fail("the server does not answer any more")

    def close(self) -> None:
        """End the connection without waiting; a server keeps nothing of ours that LOGOUT would save."""
        self._wire.fail("closed")

    def _command(self, name: str, *args: str, prefix: str | None = None) -> Command:
        try:
            untagged = "FETCH" if name == "STORE" else name
            return Command(name, self._wire.new_tag(), *args, prefix=prefix, untagged_resp_name=untagged, loop=self._wire.loop)
        except ValueError as error:
            raise MailboxError(str(error)) from None

    async def _ask_capabilities(self) -> None:
        lines = await self._ok(self._command("CAPABILITY"))
        self.capabilities = frozenset(b" ".join(lines[:-1]).decode("ascii", "replace").upper().split())
        self._wire.capabilities = set(self.capabilities)

    async def _store(self, uids: str, flags: str) -> None:
        await self._ok(self._command("STORE", uids, "+FLAGS.SILENT", flags, prefix="UID"))

    async def _ok(self, command: Command, scrub: str | None = None) -> list[bytes]:
        """Run a command and return the lines of its answer, the tagged one last. A NO or BAD is told in the server's words."""
        response = await self._run(command, scrub)
        if response.result.upper() != "OK":
            words = bytes(response.lines[-1]).decode("utf-8", "replace") if response.lines else ""
            words = (words.replace(scrub, "***") if scrub else words)[:200]
            raise MailboxError(f"the server refuses {command.name}: {words}")
        lines: list[bytes] = response.lines
        return lines

    async def _run(self, command: Command, scrub: str | None) -> Response:
        wire = self._wire
        if wire.lost is not None:
            raise MailboxError(wire.lost)
        wire.begin()
        begun = now = wire.loop.time()
        task = asyncio.ensure_future(wire.execute(command, scrub=scrub))
        try:
            while not task.done():
                left = min(max(wire.heard, begun) + self._timeout, begun + LONGEST_COMMAND) - now
                if left <= 0:
                    wire.fail(f"the server does not answer {command.name}")
                await asyncio.wait({task}, timeout=max(0.0, left))
                now = wire.loop.time()
            return task.result()
        except AioImapException as error:
            raise MailboxError(wire.lost or str(error)) from None
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, AioImapException):
                await task


def _uid_set(uids: Sequence[int]) -> str:
    return f"{uids[0]}:{uids[-1]}" if isinstance(uids, range) else ",".join(map(str, uids))


def _fault(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    return str(error) or type(error).__name__


def _unpacked(challenge: bytes) -> str:
    try:
        return " ".join(base64.b64decode(challenge).decode("utf-8", "replace").split())[:300]
    except ValueError:
        return ""


def _read_fetch(answer: list[bytes]) -> Fetched | None:
    """Read `N FETCH (UID … RFC822.SIZE … BODY[] {n}` literal `)`; None without a literal: NIL is what an expunged mail has."""
    outside = b" ".join(answer[::2])
    uid, size = _UID.search(outside), _SIZE.search(outside)
    if uid is None or len(answer) < 2:
        return None
    return Fetched(int(uid[1]), int(size[1]) if size else 0, answer[1])
