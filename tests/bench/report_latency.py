"""Report in, webhook out: the time from the mailbox's EXISTS, and from the mail's APPEND, to the webhook's first byte.

The daemon's own connection goes through a relay that notes when EXISTS passes (`exists_to_webhook`). A second, minimal client is
in IDLE on the same mailbox and notes its own EXISTS (`other_exists_to_webhook`). The server is Dovecot if it is installed,
otherwise the embedded one in a process of its own. Dovecot notifies each client within half a second, at different moments, so
that the second client's figure means little with it.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mailbridge.demo.mailbox import DemoMailbox, report_mail
from tests.bench.daemon import Arrivals, daemon, spread
from tests.bench.http_peer import Request, listening
from tests.integration import dovecot

_USER, _PASSWORD = "office", "demo"
_CONFIG = """
[mailbox.office]
host = "127.0.0.1"
port = {imap}
tls = "none"
username = "{user}"
password = "{password}"
trust = "none"
[incoming]
every = "off"
[webhook.crm]
url = "http://127.0.0.1:{http}/hook"
secret = "whsec_{secret}"
allow_private = true
"""


class ImapClient:
    """A minimal IMAP client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> ImapClient:
        """Connect and log in."""
        imap = cls(*await asyncio.open_connection("127.0.0.1", port))
        await imap.until(b"* OK")
        await imap.command(f'LOGIN "{_USER}" "{_PASSWORD}"'.encode())
        return imap

    async def until(self, beginning: bytes) -> bytes:
        """Read up to the line with this beginning, and return it."""
        while not (line := await self._reader.readline()).startswith(beginning):
            if not line:
                raise ConnectionError("the IMAP server closed the connection")
        return line

    async def command(self, command: bytes) -> None:
        """Send a command and wait for its OK."""
        self._writer.write(b"a " + command + b"\r\n")
        answer = await self.until(b"a ")
        if not answer.startswith(b"a OK"):
            raise ConnectionError(answer.decode(errors="replace"))

    async def append(self, mail: bytes) -> None:
        """Append a mail to INBOX."""
        self._writer.write(b"a APPEND INBOX {%d}\r\n" % len(mail))
        await self.until(b"+")
        self._writer.write(mail + b"\r\n")
        await self.until(b"a OK")

    async def idle(self, arrivals: Arrivals) -> None:
        """IDLE on INBOX until cancelled, and note each number of an EXISTS."""
        await self.command(b"SELECT INBOX")
        self._writer.write(b"a IDLE\r\n")
        await self.until(b"+")
        arrivals.note("idle")
        while True:
            line = await self._reader.readline()
            if line.rstrip().upper().endswith(b" EXISTS"):
                arrivals.note(line.split()[1].decode())
            elif not line:
                raise ConnectionError("the IMAP server closed the connection")

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()


@asynccontextmanager
async def relay(port: int, arrivals: Arrivals) -> AsyncIterator[int]:
    """Relay connections to an IMAP server, and note each number of an EXISTS; yield the relay's port."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, from_server: bool) -> None:
        while chunk := await reader.read(65536):
            for line in chunk.split(b"\r\n") if from_server and b" EXISTS" in chunk else ():
                if line.endswith(b" EXISTS"):
                    arrivals.note(f"relayed {line.split()[1].decode()}")
            writer.write(chunk)
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, server_writer, False), pump(server_reader, writer, True), return_exceptions=True)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@asynccontextmanager
async def server(name: str) -> AsyncIterator[int]:
    """Run an IMAP server with an empty mailbox; yield its port."""
    if name == "dovecot":
        with dovecot.running() as running:
            yield running.plain
        return
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.bench.report_latency",
        "--serve",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield int(await process.stdout.readline())
    finally:
        process.stdin.close()
        await process.wait()


async def serve_embedded() -> None:
    """Run the embedded server until standard input ends."""
    async with DemoMailbox(_USER, _PASSWORD) as mailbox:
        print(mailbox.port, flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def measure(name: str, count: int) -> dict[str, Any]:
    """Append reports, each after the webhook of the one before has arrived."""
    webhooks, arrivals = Arrivals(), Arrivals()

    def answer(request: Request) -> bytes:
        event = json.loads(request.body)
        if event["type"] == "report.received":
            webhooks.note(event["data"]["report"]["message_id"], request.at)
        return b""

    secret = base64.b64encode(b"a secret of thirty-two bytes....").decode()
    async with listening(answer) as http, server(name) as port, relay(port, arrivals) as relayed:
        values = {"imap": relayed, "user": _USER, "password": _PASSWORD, "http": http, "secret": secret}
        watching, writing = await ImapClient.open(port), await ImapClient.open(port)
        idling = asyncio.create_task(watching.idle(arrivals))
        await arrivals.of("idle")
        async with daemon(_CONFIG.format(**values), until="mailbox up"):
            latencies = await _append_reports(writing, webhooks, arrivals, count)
        idling.cancel()
        await asyncio.gather(idling, return_exceptions=True)
        watching.close()
        writing.close()
    return {"server": name, **{interval: spread(seconds) for interval, seconds in latencies.items()}}


async def _append_reports(writing: ImapClient, webhooks: Arrivals, arrivals: Arrivals, count: int) -> dict[str, list[float]]:
    intervals = ("exists_to_webhook", "other_exists_to_webhook", "append_to_exists", "append_to_webhook")
    latencies: dict[str, list[float]] = {name: [] for name in intervals}
    # The first five warm the daemon up and are not counted.
    for number in range(-5, count):
        mail = report_mail("Success", 9, f"report {number}").replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        (message_id,) = (line[12:].strip().decode() for line in mail.splitlines() if line.startswith(b"Message-ID: "))
        await writing.append(mail)
        appended = time.perf_counter()
        exists = number + 6
        relayed, other = await arrivals.of(f"relayed {exists}"), await arrivals.of(str(exists))
        delivered = await webhooks.of(message_id)
        if number >= 0:
            latencies["exists_to_webhook"].append(delivered - relayed)
            latencies["other_exists_to_webhook"].append(delivered - other)
            latencies["append_to_exists"].append(relayed - appended)
            latencies["append_to_webhook"].append(delivered - appended)
        await asyncio.sleep(random.uniform(0.02, 0.04))
    return latencies


def main() -> None:
    """Measure and print one JSON line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--count", type=int, default=200, help="number of reports (default 200)")
    options.add_argument("--server", choices=("dovecot", "embedded"), help="default: dovecot if it is installed")
    options.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.serve:
        asyncio.run(serve_embedded())
        return
    name = chosen.server or ("embedded" if dovecot.missing() else "dovecot")
    print(json.dumps({"bench": "report_latency", **asyncio.run(measure(name, chosen.count))}))


if __name__ == "__main__":
    main()
