"""Row P9: several daemons on one database watch the mailboxes of a Dovecot."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mailbridge.demo.mailbox import report_mail
from tests.e2e.environment import Environment
from tests.e2e.several_nodes import holder, nodes
from tests.integration import dovecot
from tests.integration.dovecot import Dovecot
from tests.wait_helpers import until

pytestmark = [
    pytest.mark.database("postgresql", reason="SQLite has one node"),
    pytest.mark.skipif(dovecot.missing() is not None, reason=str(dovecot.missing())),
]
USER = "office@example.co.il"
# With 1 also what takes as long as a lease is waited for: half a minute.
FULL = os.environ.get("MAILBRIDGE_FULL") == "1"


def connections(server: Dovecot) -> int:
    """Return how many connections Dovecot has (proc(5): the state 01 is that of an established one)."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(line[3] == "01" and int(line[1].rpartition(":")[2], 16) == server.plain for line in lines)


@asynccontextmanager
async def watching(state: Path, count: int, server: Dovecot) -> AsyncIterator[list[Environment]]:
    """Run so many daemons that watch a mailbox of Dovecot."""
    async with nodes(state, count, start=False) as daemons:
        for env in daemons:
            config = env.config.read_text(encoding="utf-8")
            env.config.write_text(config.replace(f"port = {env.mailbox.port}", f"port = {server.plain}"), encoding="utf-8")
        for env in daemons:
            await env.start()
        yield daemons


async def watcher(daemons: list[Environment]) -> Environment:
    """Return the daemon that watches the mailbox, once one of these does by the only connection."""
    with_lease: list[Environment] = []

    def found() -> bool:
        with_lease[:] = [env for env in daemons if env.name == holder(daemons[0], "mailbox")]
        return bool(with_lease)

    await until(found)
    await with_lease[0].becomes_ready()
    return with_lease[0]


async def each_seen_once(env: Environment, server: Dovecot, *names: str) -> None:
    """Deliver reports of no fax; wait for their events, and check that no report has had two."""
    await asyncio.to_thread(server.deliver, USER, *(report_mail("Success", 9, name) for name in names))

    def seen() -> Counter[str]:
        events = [event for event in env.receiver.events if event["type"] == "report.received"]
        return Counter(event["data"]["report"]["subject"] for event in events)

    await until(lambda: set(names) <= set(seen()), what="no event of a report")
    assert set(seen().values()) == {1}


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_p9_a_mailbox_has_one_connection_which_passes_on(tmp_path: Path, end: str) -> None:
    async def main() -> None:
        with dovecot.running() as server:
            async with watching(tmp_path, 3, server) as daemons:
                first = await watcher(daemons)
                assert connections(server) == 1
                await each_seen_once(first, server, "one")
                left = [env for env in daemons if env is not first]
                begun = time.monotonic()
                if end == "kill":
                    await first.kill(lease_passes=not FULL)
                else:
                    assert await first.stop() == 0
                second = await watcher(left)
                if FULL:  # row P9 names these times, so the full run alone, on a machine of its own, judges them
                    assert time.monotonic() - begun < (35 if end == "kill" else 2)
                await each_seen_once(second, server, "two", "three")
                await until(lambda: connections(server) == 1)

    asyncio.run(main())


def test_p9_two_watchers_at_once_give_each_event_once(tmp_path: Path) -> None:
    async def main() -> None:
        with dovecot.running() as server:
            async with watching(tmp_path, 2, server) as daemons:
                first = await watcher(daemons)
                [other] = [env for env in daemons if env is not first]
                first.signal(signal.SIGSTOP)
                first.let_lease_pass()
                second = await watcher([other])
                assert connections(server) == 2
                # The first one still waits on its connection, and goes on when the mails come.
                names = [f"no {number}" for number in range(30)]
                seeing = asyncio.create_task(each_seen_once(second, server, *names))
                first.signal(signal.SIGCONT)
                await seeing
                await until(lambda: connections(server) == 1)
                await each_seen_once(second, server, "last")

    asyncio.run(main())
