"""A mail relay for tests: it takes mails, or refuses what it is told to refuse, and says what it was given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage


@dataclass(frozen=True)
class Taken:
    """One mail as the relay got it; `mail_from` and `rcpt_to` are the arguments of MAIL and RCPT with their parameters."""

    mail_from: str
    rcpt_to: str
    content: bytes

    @property
    def message(self) -> EmailMessage:
        return message_from_bytes(self.content, policy=policy.default)


@dataclass
class RelayStandIn:
    """`refuse` maps the beginning of a command (`MAIL FROM:<>`, `.` for the end of data) to the reply it gets instead.

    `limit` is the largest mail that it takes, in bytes. `lose` is how many mails it takes without an answer: it hangs up after
    their last line. `before` is awaited with each verb before its reply, with `.` when a mail has come, and with `taken` before
    that is answered.
    """

    offers: tuple[str, ...] = ("8BITMIME", "SMTPUTF8", "DSN")
    refuse: dict[str, str] = field(default_factory=dict)
    limit: int | None = None
    lose: int = 0
    before: Callable[[str], Awaitable[None]] | None = None
    taken: list[Taken] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._dialogue(reader, writer)
        writer.close()

    async def _dialogue(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((self._refusal("CONNECT") or "220 stand-in").encode() + b"\r\n")
        mail_from = rcpt_to = ""
        while line := (await reader.readline()).decode().rstrip("\r\n"):
            verb = line.split(" ")[0].upper()
            reply = self._refusal(line)
            await self._reached(verb)
            if reply is None and verb == "DATA":
                writer.write(b"354 go\r\n")
                content = await reader.readuntil(b"\r\n.\r\n")
                await self._reached(".")
                if self.lose:
                    self.lose -= 1
                    return
                reply = self._refusal(".") or self._size_refusal(len(content)) or "250 taken"
                if reply.startswith("250"):
                    body = content[:-3].replace(b"\r\n..", b"\r\n.")
                    self.taken.append(Taken(mail_from, rcpt_to, body))
                    await self._reached("taken")
            elif reply is None and verb == "EHLO":
                reply = "\r\n".join([f"250-{one}" for one in ("stand-in", *self.offers)] + ["250 ENHANCEDSTATUSCODES"])
            elif reply is None:
                announced = int(line.partition(" SIZE=")[2].split(" ")[0] or 0)
                reply = self._size_refusal(announced) or ("221 bye" if verb == "QUIT" else "250 ok")
                mail_from = line[10:] if verb == "MAIL" else mail_from
                rcpt_to = line[8:] if verb == "RCPT" else rcpt_to
            writer.write(reply.encode() + b"\r\n")
            if verb == "QUIT":
                return

    async def _reached(self, point: str) -> None:
        if self.before is not None:
            await self.before(point)

    def _size_refusal(self, size: int) -> str | None:
        return "552 5.3.4 Message size exceeds fixed limit" if self.limit is not None and size > self.limit else None

    def _refusal(self, line: str) -> str | None:
        return next((reply for begins, reply in self.refuse.items() if line.upper().startswith(begins.upper())), None)


@asynccontextmanager
async def relay_running(relay: RelayStandIn) -> AsyncIterator[RelayStandIn]:
    server = await asyncio.start_server(relay.serve, "127.0.0.1", relay.port, limit=1 << 26)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        server.close()
