"""Scripted IMAP servers in place of a mailbox: one answer for each command, before or instead of a real one."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from mailbridge.demo.mailbox import DemoMailbox

PASSWORD = "hunter22"


class Script:
    """A scripted IMAP session. `answers` maps a command to what is done instead of the usual answer; "" is the greeting.

    An answer is bytes, in which TAG stands for the command's tag, or a coroutine function that is given the session.
    """

    usual: ClassVar[dict[str, bytes]] = {
        "": b"* OK ready\r\n",
        "CAPABILITY": b"* CAPABILITY IMAP4rev1 IDLE UIDPLUS MOVE\r\nTAG OK\r\n",
        "LOGIN": b"TAG OK\r\n",
        "SELECT": b"* 1 EXISTS\r\n* OK [UIDVALIDITY 77]\r\n* OK [UIDNEXT 1]\r\nTAG OK\r\n",
        "SEARCH": b"* SEARCH\r\nTAG OK\r\n",
        "FETCH": b"TAG OK\r\n",
        "STORE": b"TAG OK\r\n",
        "NOOP": b"TAG OK\r\n",
        "IDLE": b"+ idling\r\n",
    }

    def __init__(self, answers: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.answers, self.reader, self.writer = {**self.usual, **answers}, reader, writer
        self.tag, self.command, self.sent = b"", b"", 0
        self.commands: list[str] = []

    async def run(self) -> None:
        await self.answer("")
        while line := await self.reader.readline():
            if line == b"DONE\r\n":
                await self.send(b"TAG OK\r\n")
                continue
            self.tag, _, self.command = line.rstrip().partition(b" ")
            self.commands.append(self.command.decode().removeprefix("UID ").split()[0])
            await self.answer(self.commands[-1])

    async def answer(self, command: str) -> None:
        answer = self.answers[command]
        await (self.send(answer) if isinstance(answer, bytes) else answer(self))

    async def send(self, data: bytes) -> None:
        self.sent += len(data)
        self.writer.write(data.replace(b"TAG", self.tag))
        await self.writer.drain()


class Front:
    """A port whose first `times` connections get the script, and the next ones the mailbox behind it."""

    def __init__(self, behind: int, answers: dict[str, Any], times: int, tls: ssl.SSLContext | None = None) -> None:
        self._behind, self._answers, self._times, self._tls = behind, answers, times, tls
        self.scripts: list[Script] = []
        self.released = asyncio.Event()
        self._tasks = set[asyncio.Task[None]]()

    async def __aenter__(self) -> Front:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if len(self.scripts) < self._times:
                self.scripts.append(Script(self._answers, reader, writer))
                await self.scripts[-1].run()
            else:
                await self.released.wait()
                await self._pass_on(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._behind)

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                target.write(data)
                await target.drain()

        try:
            ways = [asyncio.create_task(copy(reader, other_writer)), asyncio.create_task(copy(other_reader, writer))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            other_writer.transport.abort()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)


@asynccontextmanager
async def scripted(
    answers: dict[str, Any], times: int = 10_000, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[DemoMailbox, Front]]:
    async with DemoMailbox(password=PASSWORD) as box, Front(box.port, answers, times, tls) as front:
        yield box, front


def fetched(uid: int, mail: bytes) -> bytes:
    return b"* 1 FETCH (UID %d RFC822.SIZE %d BODY[] {%d}\r\n%s)\r\n" % (uid, len(mail), len(mail), mail)
