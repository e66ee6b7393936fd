"""How long a connection waits for its server, in virtual time and without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aioimaplib.aioimaplib import SELECTED

from mailbridge.errors import MailboxError
from mailbridge.report.imap_connection import LONGEST_COMMAND, POLL_SECONDS, Connection
from mailbridge.report.imap_protocol import ImapProtocol
from tests.unit.report.virtual_time import run

TIMEOUT = 30.0


class Server(asyncio.Transport):
    """A server in the same process. `answers` maps a command to what it does, by the name of the command."""

    def __init__(self, capabilities: str = "IDLE", **answers: Callable[[Server], None]) -> None:
        super().__init__()
        self._answers = answers
        self.tag, self.commands = b"", list[str]()
        self.loop = asyncio.get_running_loop()
        self.protocol: Any = ImapProtocol(self.loop, 1000)
        self.protocol.connection_made(self)
        self.protocol.data_received(b"* OK ready\r\n")
        self.protocol.state = SELECTED
        self.connection = Connection(self.protocol, TIMEOUT)
        self.connection.capabilities = frozenset(capabilities.split())

    def write(self, data: Any) -> None:
        tag, _, command = bytes(data).rstrip().partition(b" ")
        if command:
            self.tag = tag
        self.commands.append((command.removeprefix(b"UID ") or tag).decode().split()[0])
        if (answer := self._answers.get(self.commands[-1])) is not None:
            answer(self)

    def say(self, data: bytes, after: float = 0.0) -> None:
        """Send this after so many seconds; TAG stands for the tag of the last command."""
        self.loop.call_later(after, self.protocol.data_received, data.replace(b"TAG", self.tag))

    def abort(self) -> None:
        self.loop.call_soon(self.protocol.connection_lost, None)


def idle(server: Server) -> None:
    server.say(b"+ idling\r\n")


def ok(server: Server) -> None:
    server.say(b"TAG OK\r\n")


async def seconds_of(work: Any) -> float:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await work
    return loop.time() - begun


async def seconds_until_error(work: Any, error: str) -> float:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    with pytest.raises(MailboxError, match=error):
        await work
    return loop.time() - begun


def test_silence_counts_from_the_last_bytes() -> None:
    async def main() -> None:
        server = Server(SEARCH=lambda server: server.say(b"* SEA", after=7.0))
        assert await seconds_until_error(server.connection.search("ALL"), "does not answer SEARCH") == pytest.approx(
            7.0 + TIMEOUT
        )
        assert server.connection.lost

    run(main())


def test_a_silent_server_loses_its_connection_after_the_timeout() -> None:
    async def main() -> None:
        server = Server()
        assert await seconds_until_error(server.connection.noop(), "does not answer NOOP") == pytest.approx(TIMEOUT)

    run(main())


def test_an_answer_that_drips_in_ends_after_the_longest_command() -> None:
    def drip(server: Server) -> None:
        for second in range(10_000):
            server.say(b"x", after=float(second))

    async def main() -> None:
        server = Server(SEARCH=drip)
        took = await seconds_until_error(server.connection.search("ALL"), "does not answer SEARCH")
        assert took == pytest.approx(LONGEST_COMMAND)

    run(main())


def test_an_exists_ends_the_wait_at_once() -> None:
    def announce(server: Server) -> None:
        server.say(b"+ idling\r\n")
        server.say(b"* 5 EXISTS\r\n", after=100.0)

    async def main() -> None:
        server = Server(IDLE=announce, DONE=ok)
        assert await seconds_of(server.connection.wait_for_exists(240.0)) == pytest.approx(100.0)
        assert server.connection.exists_received
        assert server.commands == ["IDLE", "DONE"]
        # One that is not handled yet ends the next wait too.
        assert await seconds_of(server.connection.wait_for_exists(240.0)) == 0.0

    run(main())


@pytest.mark.parametrize("together", [True, False])
def test_idle_is_ended_once_and_in_the_moment_of_the_exists(together: bool) -> None:
    async def main() -> None:
        server = Server()
        waiting = asyncio.create_task(server.connection.wait_for_exists(240.0))
        while not server.commands:
            await asyncio.sleep(0)
        server.protocol.data_received(b"* 4 EXISTS\r\n")
        assert server.commands == ["IDLE"]  # the server has not begun to idle
        server.protocol.exists.clear()
        for data in [b"+ idling\r\n* 5 EXISTS\r\n"] if together else [b"+ idling\r\n", b"* 5 EXISTS\r\n"]:
            server.protocol.data_received(data)
        assert server.commands == ["IDLE", "DONE"]
        server.protocol.data_received(b"* 6 EXISTS\r\n")
        await asyncio.sleep(0)
        server.protocol.data_received(b"* 7 EXISTS\r\n" + server.tag + b" OK\r\n")
        await waiting
        assert server.commands == ["IDLE", "DONE"]

    run(main())


def test_a_quiet_idle_ends_when_it_should() -> None:
    async def main() -> None:
        server = Server(IDLE=idle, DONE=ok)
        assert await seconds_of(server.connection.wait_for_exists(240.0)) == pytest.approx(240.0)
        assert not server.connection.exists_received
        assert server.commands == ["IDLE", "DONE"]

    run(main())


@pytest.mark.parametrize(
    ("capabilities", "answer"),
    [("", b""), ("IDLE", b"TAG NO not here\r\n"), ("IDLE", b"TAG BAD\r\n"), ("IDLE", b"+ idling\r\nTAG OK enough\r\n")],
    ids=["without IDLE", "NO", "BAD", "ended by the server"],
)
def test_a_server_that_does_not_idle_is_polled_at_a_steady_pace(capabilities: str, answer: bytes) -> None:
    async def main() -> None:
        server = Server(capabilities, IDLE=lambda server: server.say(answer))
        assert await seconds_of(server.connection.wait_for_exists(240.0)) == pytest.approx(POLL_SECONDS)
        assert await seconds_of(server.connection.wait_for_exists(0.5)) == pytest.approx(0.5)
        assert not server.connection.lost

    run(main())


@pytest.mark.parametrize(
    ("answers", "error", "after"),
    [
        ({}, "does not begin to idle", TIMEOUT),
        ({"IDLE": idle}, "does not answer any more", 240.0 + TIMEOUT),
        ({"IDLE": lambda server: server.loop.call_later(9.0, server.abort)}, "closed the connection", 9.0),
    ],
    ids=["no start", "no end", "lost"],
)
def test_an_idle_that_the_server_leaves_hanging_is_an_error(answers: dict[str, Any], error: str, after: float) -> None:
    async def main() -> None:
        server = Server(**answers)
        assert await seconds_until_error(server.connection.wait_for_exists(240.0), error) == pytest.approx(after)
        assert server.connection.lost

    run(main())
