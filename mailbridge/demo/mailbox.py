"""An embedded IMAP server with one mailbox, and mails as MyFax sends them."""

from __future__ import annotations

import asyncio
import itertools
from argparse import Namespace
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from typing import Literal

from proxyprotocol.sock import SocketInfo
from pymap.backend.dict import DictBackend, Identity
from pymap.imap import IMAPServer
from pymap.user import UserMetadata
from pysasl.hashing import Cleartext

from mailbridge.demo.simulator import SimFax

SENDER = "fax@myfax.co.il"


class DemoMailbox:
    """An IMAP server in this process, in memory, on loopback. Use it as an async context manager; port 0 means any free port."""

    def __init__(self, username: str = "office@example.co.il", password: str = "demo", port: int = 0) -> None:
        self.username, self.password, self.port = username, password, port
        self.clients = 0  # that are connected now
        self._stack = AsyncExitStack()
        self._lock = asyncio.Lock()
        self._tags = itertools.count(1)

    async def __aenter__(self) -> DemoMailbox:
        # Hashing would take a quarter of a second at each login; this password protects nothing and stays in memory.
        backend, config = await DictBackend.init(_arguments(), hash_context=Cleartext())
        config.apply_context()
        user = Identity(self.username, backend.login, None, frozenset())
        await user.set(UserMetadata(config, self.username, password=self.password))
        serve = IMAPServer(backend.login, config)

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # Awaited here: proxyprotocol's callback would start a task without a reference, which Python 3.13 garbage-collects.
            self.clients += 1
            try:
                await serve(reader, writer, SocketInfo.get(writer, None))
            finally:
                self.clients -= 1

        server = await asyncio.start_server(answer, "127.0.0.1", self.port)
        self._stack.callback(server.close)
        self.port = server.sockets[0].getsockname()[1]
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._stack.callback(self._writer.close)
        await self._reader.readline()
        await self._command(f'LOGIN "{self.username}" "{self.password}"')
        self.clients = 0  # this one is not meant
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def deliver(self, mail: bytes, folder: str = "INBOX") -> None:
        """Append a mail to a folder; IMAP clients in IDLE are notified at once."""
        mail = mail.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        async with self._lock:
            await self._command(f'APPEND "{folder}" {{{len(mail)}}}', mail)

    async def _command(self, command: str, literal: bytes | None = None) -> None:
        tag = f"d{next(self._tags)}"
        self._writer.write(f"{tag} {command}\r\n".encode())
        while not (line := await self._reader.readline()).startswith(tag.encode()):
            if not line:
                raise ConnectionError("the embedded IMAP server closed the connection")
            if line.startswith(b"+") and literal is not None:
                self._writer.write(literal + b"\r\n")
        if not line.startswith(f"{tag} OK".encode()):
            raise ConnectionError(f"the embedded IMAP server says {line.decode(errors='replace').strip()}")


def report_mail(
    status: Literal["Success", "Fail"],
    code: int,
    subject: str,
    *,
    to: str = "office@example.co.il",
    sender: str = SENDER,
    text: str = "",
    date: datetime | None = None,
) -> bytes:
    """Return a report mail of MyFax. `subject` is X-Fax-Subject, the name of the first file of the fax."""
    mail = _mail(f"Fax {status}: {subject}", to, sender, date)
    mail["X-Fax-Status"] = status
    mail["X-Fax-Status-Code"] = str(code)
    mail["X-Fax-Subject"] = subject
    mail.set_content(text or f"Your fax {subject}: {status}.\n")
    return mail.as_bytes()


def report_of(fax: SimFax, to: str) -> bytes:
    """Return the report mail of a simulated fax."""
    return report_mail("Success" if fax.outcome == "delivered" else "Fail", fax.status_code, fax.subject, to=to)


def incoming_mail(
    document: bytes,
    caller: str,
    *,
    did: str | None = None,
    to: str = "office@example.co.il",
    sender: str = SENDER,
    filename: str = "fax.pdf",
    content_type: str = "application/pdf",
    date: datetime | None = None,
) -> bytes:
    """Return a mail of MyFax with a received fax. `caller` is empty if anonymous; `did` is the called number."""
    subject = f"New fax from {caller or 'anonymous'}" + (f" to {did}" if did else "")
    mail = _mail(subject, to, sender, date)
    mail["X-Fax-Sender"] = caller
    mail.set_content("You have received a fax; it is attached.\n")
    maintype, _, subtype = content_type.partition("/")
    mail.add_attachment(document, maintype=maintype, subtype=subtype, filename=filename)
    return mail.as_bytes()


def _mail(subject: str, to: str, sender: str, date: datetime | None) -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = f"MyFax <{sender}>", to, subject
    mail["Date"] = format_datetime(date or datetime.now(UTC))
    mail["Message-ID"] = make_msgid(domain="myfax.co.il")
    return mail


def _arguments() -> Namespace:
    """Return the command-line arguments that pymap's in-memory backend reads."""
    arguments: dict[str, object] = {
        "demo_data": False,
        "demo_user": "demo",
        "demo_password": "demo",
        "host": ["127.0.0.1"],
        "port": "0",
        "cert": None,
        "key": None,
        "tls": False,
        "proxy_protocol": None,
        "passlib_cfg": None,
        "skip_services": [],
        "debug": False,
        "inherited_sockets": None,
    }
    return Namespace(**arguments)
