"""Clients that do their worst, one kind after the other: each runs until it is killed, from an address of its own.

python -m tests.bench.attackers NAME SMTP_PORT TLS_PORT HTTP_PORT
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_ADDRESS = ("127.0.0.2", 0)
# Sent tomorrow: without MyFax, each upload would fail and be stored at once, again and again.
_TOMORROW = (datetime.now(UTC) + timedelta(days=1)).isoformat().encode()
_HEAD = b"From: a@b.example\r\nX-Mailbridge-Send-At: " + _TOMORROW + b"\r\nMIME-Version: 1.0\r\nContent-Type: "
_PDF = b"%PDF-1.4\n1 0 obj\n" + b"[" * 6_000_000


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the daemon listens."""

    smtp: int
    tls: int
    http: int


class _Peer:
    """One connection to the daemon."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def reply(self) -> bytes:
        """Return the last line of a reply. Raises EOFError where the daemon closed."""
        while True:
            line = await self._reader.readline()
            if not line:
                raise EOFError
            if line[3:4] == b" ":
                return line

    async def ask(self, *commands: bytes) -> bytes:
        """Send commands one by one; return the last reply."""
        reply = b""
        for command in commands:
            await self.send(command + b"\r\n")
            reply = await self.reply()
        return reply

    async def drain(self) -> None:
        """Read until the daemon closes."""
        while await self._reader.read(65_536):
            pass


@contextlib.asynccontextmanager
async def _connected(port: int) -> AsyncIterator[_Peer]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=_ADDRESS)
    try:
        yield _Peer(reader, writer)
    finally:
        writer.transport.abort()


async def _pipeline(ports: Ports, start: bytes, command: bytes) -> None:
    async with _connected(ports.smtp) as peer:
        await peer.reply()
        await peer.ask(b"EHLO x")
        with contextlib.suppress(ConnectionError):
            await peer.send(start + command * (250_000 // len(command)))
            await peer.drain()


async def _handshake(ports: Ports) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    hello = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="x")
    with contextlib.suppress(ssl.SSLWantReadError):
        hello.do_handshake()
    async with _connected(ports.tls) as peer:
        await peer.send(outgoing.read())
        await asyncio.wait_for(peer._reader.read(65_536), 5)


async def _http(ports: Ports, *paths: bytes) -> None:
    asked = b"".join(b"GET %b HTTP/1.1\r\nHost: x\r\nX-Remote-User: anna\r\n\r\n" % path for path in paths)
    async with _connected(ports.http) as peer:
        while True:
            await peer.send(asked)
            if not await peer._reader.read(65_536):
                return


async def _silence(ports: Ports) -> None:
    async with _connected(ports.smtp) as smtp, _connected(ports.http) as http:
        await asyncio.gather(smtp.drain(), http.drain())


async def _mail(ports: Ports, content: bytes, recipients: int = 1) -> None:
    """Send one mail after the other in one session."""
    async with _connected(ports.smtp) as peer:
        await peer.reply()
        await peer.ask(b"EHLO x")
        for number in range(10_000):
            to = [b"RCPT TO:<03-9%03d%03d@fax.local>" % (number % 1000, recipient) for recipient in range(recipients)]
            await peer.ask(b"MAIL FROM:<a@b.example>", *to, b"DATA")
            await peer.send(b"X-Number: %d\r\n" % number + content + b"\r\n.\r\n")
            if (await peer.reply()).startswith(b"421"):
                return


async def _guess(ports: Ports) -> None:
    async with _connected(ports.smtp) as peer:
        await peer.reply()
        await peer.ask(b"EHLO x")
        await peer.send(b"AUTH PLAIN " + base64.b64encode(b"\0anna\0guess") + b"\r\n")
        await asyncio.sleep(0.35)


def _text(line: str) -> bytes:
    return _HEAD + b"text/plain; charset=utf-8\r\n\r\n" + (line * (95_000 // len(line))).encode()


def _html(unit: bytes) -> bytes:
    return _HEAD + b"text/html\r\n\r\n" + unit * (1_900_000 // len(unit))


def _pdf() -> bytes:
    encoded = base64.encodebytes(_PDF).replace(b"\n", b"\r\n")
    return _HEAD + b"application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n" + encoded


Attack = Callable[[Ports], Awaitable[None]]
# By name: how many connections, and what each does again and again.
ATTACKS: Mapping[str, tuple[int, Attack]] = {
    "pipelined commands": (49, lambda ports: _pipeline(ports, b"", b"NOOP\r\n")),
    "rejected recipients": (49, lambda ports: _pipeline(ports, b"MAIL FROM:<a@b>\r\n", b"RCPT TO:<nobody@fax.local>\r\n")),
    "TLS handshakes": (45, _handshake),
    "HTTP": (40, lambda ports: _http(ports, b"/readyz", b"/metrics")),
    "console": (40, lambda ports: _http(ports, b"/console/faxes?q=0", b"/console/system", b"/console/login")),
    "silence": (45, _silence),
    "data": (20, lambda ports: _mail(ports, _HEAD + b"text/plain\r\n\r\n" + b"..\r\n" * 9_000_000)),
    "text": (4, lambda ports: _mail(ports, _text("א\u05b0"))),
    "HTML": (4, lambda ports: _mail(ports, _html(b"<ul><li>"))),
    "PDF": (4, lambda ports: _mail(ports, _pdf())),
    "recipients": (20, lambda ports: _mail(ports, _HEAD + b"text/plain\r\n\r\nhello", 100)),
    "AUTH": (45, _guess),
}


async def attack(name: str, ports: Ports) -> None:
    """Attack until killed."""
    connections, worst = ATTACKS[name]

    async def again() -> None:
        while True:
            with contextlib.suppress(OSError, EOFError, TimeoutError):
                await worst(ports)
            await asyncio.sleep(0.001)

    await asyncio.gather(*(again() for _ in range(connections)))


if __name__ == "__main__":
    asyncio.run(attack(sys.argv[1], Ports(*map(int, sys.argv[2:5]))))
