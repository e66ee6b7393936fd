"""The SMTP service for tests: a gateway in a thread, and raw connections to it."""

from __future__ import annotations

import asyncio
import io
import random
import smtplib
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mailbridge.config import Config
from mailbridge.model import Document, Fax
from mailbridge.runtime import Runtime
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.spool_paths import IN_MEMORY, derived_path
from mailbridge.store.sqlite import SqliteStore
from mailbridge.store.state_dir import DATABASE
from mailbridge.submission.letter.letter import Letter
from mailbridge.submission.password import hash_password
from mailbridge.submission.server import SmtpService
from tests.wait_helpers import PATIENCE

MAIL = b"From: anna@example.co.il\r\nSubject: hello\r\n\r\nbody\r\n"
HASH = hash_password("secret")


class Gateway:
    """The SMTP service with a SQLite store, in a thread of its own.

    `letter` is what every mail is read as; `while_reading` is called then, in a thread.
    """

    def __init__(self, state: Path, smtp: dict[str, Any], more: dict[str, Any], sockets: Sequence[socket.socket] = ()) -> None:
        self._sockets = sockets
        account = {"email": "a@example.co.il", "password": "x"}
        accounts = {"office": account, "second": account}
        self.config = Config.model_validate(
            {"account": accounts, "state_dir": state, "smtp": {"listen": ["127.0.0.1:0"], "hostname": "mx.test", **smtp}, **more}
        )
        self.spool = LocalSpool(state / "spool")
        self.letter: dict[str, Any] = {"message_id": None, "subject": "hello", "sender": "anna@example.co.il"}
        self.while_reading: Callable[[], Any] = lambda: None
        self.letter_read = threading.Event()
        self.line_ends_changed: bool | None = None
        self._ready, self._stop = threading.Event(), asyncio.Event()
        self.grace = 2.0
        self._skipped_seconds = 0.0
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(state)))
        self._thread.start()
        assert self._ready.wait(PATIENCE)

    async def _read_letter(self, mail: str | bytes, line_ends_changed: bool, _: str) -> Letter:
        path = IN_MEMORY if isinstance(mail, bytes) else mail
        self.line_ends_changed = line_ends_changed
        self.letter_read.set()
        await asyncio.to_thread(self.while_reading)
        document = Document(name="a.txt", content_type="text/plain", size=1, sha256="", path=path, offset=0, length=1)
        if not (derived := self.letter.get("derived", b"")):
            return Letter(documents=(document,), **self.letter)
        page = replace(document, name="page.pdf", path=derived_path(path), size=len(derived), length=len(derived))
        return Letter(documents=(page, document), **self.letter)

    async def _run(self, state: Path) -> None:
        self.loop = asyncio.get_running_loop()
        self.loop.time = lambda: time.monotonic() + self._skipped_seconds  # type: ignore[method-assign]  # see `skip`
        async with SqliteStore(state, lambda *_: {}, lambda *_: []) as store:
            self.store = store
            runtime = Runtime(store, self.spool, lambda: datetime.now(UTC), random.random)
            self.service = SmtpService(self.config, runtime, self._read_letter, self._sockets)
            self.addresses = await self.service.start()
            self._ready.set()
            await self._stop.wait()
            await self.service.stop(self.grace)

    def stop(self) -> None:
        self.begin_stop()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def begin_stop(self) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._stop.set)

    def skip(self, seconds: float) -> None:
        """Set the clock of the service's event loop forward."""
        self._skipped_seconds += seconds
        self.loop.call_soon_threadsafe(lambda: None)  # it looks at its clock

    @property
    def port(self) -> int:
        return self.addresses[0][1]

    def client(self) -> smtplib.SMTP:
        client = smtplib.SMTP("127.0.0.1", self.port, timeout=PATIENCE)
        client.ehlo("client.test")
        return client

    def faxes(self) -> list[Fax]:
        return asyncio.run_coroutine_threadsafe(self.store.run(lambda tx: tx.faxes.newest()), self.loop).result(PATIENCE)

    def files(self) -> list[Path]:
        """Return every file of the spool that has mails, or a mail that arrives."""
        return [path for path in (self.spool.root / "mail").rglob("*") if path.is_file()]

    def mails(self) -> list[bytes]:
        """Return the accepted mails, in the order of their ids."""
        with closing(sqlite3.connect(self.spool.root.parent / DATABASE)) as database:
            found = database.execute("SELECT path, json_extract(record, '$.size') FROM envelope ORDER BY id").fetchall()
        contents = []
        for path, size in found:
            with io.BufferedReader(self.spool.open(path)) as file:
                contents.append(file.read(size))
        return contents

    def send(self, mail: bytes = MAIL, to: str = "03-9876543@fax.local") -> tuple[int, bytes]:
        with self.client() as client:
            assert client.mail("anna@example.co.il")[0] == 250
            assert client.rcpt(to)[0] == 250
            return client.data(mail)


@contextmanager
def gateway(
    state: Path, smtp: dict[str, Any] | None = None, *, sockets: Sequence[socket.socket] = (), **more: Any
) -> Iterator[Gateway]:
    running = Gateway(state, smtp or {}, more, sockets)
    try:
        yield running
    finally:
        running.stop()


def until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def connect(port: int, *commands: bytes) -> socket.socket:
    """Open a connection, read the greeting, send the commands and read one reply for each."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    read_reply(connection)
    for command in commands:
        connection.sendall(command + b"\r\n")
        read_reply(connection)
    return connection


def read_reply(connection: socket.socket) -> bytes:
    """Read one whole reply, or what has arrived when the server closes."""
    got = b""
    while not (got.endswith(b"\r\n") and got.splitlines()[-1][3:4] == b" "):
        chunk = connection.recv(65536)
        if not chunk:
            break
        got += chunk
    return got


def greeting_of(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        return read_reply(connection)


USERS = {
    "anna": {"password_hash": HASH, "senders": ["anna@example.co.il"], "account": "second", "daily_limit": 2},
    "free": {"password_hash": HASH, "allow": ["US"]},
}
