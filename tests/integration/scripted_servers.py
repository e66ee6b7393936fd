"""Scripted TCP servers in place of MyFax, for what the MyFax simulator does not do."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import io
import ipaddress
import re
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import BinaryIO, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mailbridge.myfax import Upload
from tests.time_limit import TimeLimit

PASSWORD = "s3cret-Passw0rd"
TAKEN = "<RESPONSE><RESPONSE_CODE>0</RESPONSE_CODE><FAX_CODE>c-1</FAX_CODE></RESPONSE>"
PDF = b"%PDF-1.4 " + bytes(range(256)) * 20

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def upload(content: bytes = PDF, name: str = "a.pdf") -> Upload:
    return Upload(name, "application/pdf", lambda: cast(BinaryIO, io.BytesIO(content)))


def http(body: str | bytes, status: str = "200 OK", *headers: str) -> bytes:
    content = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + content


async def read_head(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await read_head(reader)
    length = re.search(rb"(?i)content-length: (\d+)", head)
    assert length is not None, head
    return head, await reader.readexactly(int(length[1]))


def reset(writer: asyncio.StreamWriter) -> None:
    """Reset the connection: with SO_LINGER 0, closing sends a RST."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def silence() -> None:
    """Send nothing more, until the connection ends. The test's time limit, if it has one, is over now."""
    if TimeLimit.current is not None:
        TimeLimit.current.end()
    await asyncio.Event().wait()


def answers(*pieces: bytes, silent: bool = False) -> Script:
    """Return a script that reads a whole request, sends these bytes and closes, or says nothing more if it is `silent`."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if silent:
            await silence()

    return script


class RawServer:
    """A scripted TCP server on loopback. `connections` counts those opened; `faults` are unexpected errors of the script."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self._script, self._tls = script, tls
        self.connections = 0
        self.faults: list[BaseException] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> RawServer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        host, port = self._server.sockets[0].getsockname()
        self.url = f"{'https' if self._tls else 'http'}://{host}:{port}/action/"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._script(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            self.faults.append(error)
        finally:
            writer.transport.abort() if task.cancelling() else writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
            self._tasks.discard(task)


def certificate(folder: Path) -> ssl.SSLContext:
    """Return a server's TLS context with an untrusted, self-signed certificate for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(built.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context
