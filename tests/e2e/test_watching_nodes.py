"""Row P9: each mailbox is watched by one node. Row P18: a node that stops has given back what it did alone before it ends."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from mailbridge.demo.mailbox import incoming_mail
from tests.e2e.environment import Environment
from tests.e2e.several_nodes import holder, nodes
from tests.e2e.test_durability import a_mail, accepted
from tests.wait_helpers import until

pytestmark = pytest.mark.database("postgresql", reason="SQLite has one node")
# At this number the simulator takes the upload, and never answers.
HANGS = "03-9876592"


async def watcher(daemons: list[Environment]) -> tuple[Environment, list[Environment]]:
    """Return the node that watches the mailbox, and the others, once each of them knows it."""

    def up() -> list[Environment]:
        name = holder(daemons[0], "mailbox")
        return [node for node in daemons if node.name == name and '"mailbox up"' in node.log.read_text(encoding="utf-8")]

    await until(up)
    [watching] = up()
    return watching, [node for node in daemons if node is not watching]


def received(env: Environment) -> list[str]:
    return [event["data"]["from"] for event in env.receiver.events if event["type"] == "fax.received"]


def test_p9_one_node_watches_the_mailbox_and_another_when_that_ends(tmp_path: Path) -> None:
    async def main() -> None:
        async with nodes(tmp_path, 2) as daemons:
            mailbox = daemons[0].mailbox
            first, [second] = await watcher(daemons)
            await until(lambda: mailbox.clients == 1)
            await mailbox.deliver(incoming_mail(b"%PDF-1.4 one", "048765431"))
            await until(lambda: received(daemons[0]) == ["+97248765431"])
            assert mailbox.clients == 1
            assert await first.stop() == 0
            assert await watcher([second]) == (second, [])
            await until(lambda: mailbox.clients == 1)
            await first.start()
            await second.kill()
            await mailbox.deliver(incoming_mail(b"%PDF-1.4 two", "048765432"))
            await until(lambda: received(daemons[0]) == ["+97248765431", "+97248765432"])
            assert holder(first, "mailbox") == first.name
            await until(lambda: mailbox.clients == 1)

    asyncio.run(main())


def test_p9_two_watchers_at_once_report_each_mail_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with nodes(tmp_path, 2) as daemons:
            mailbox = daemons[0].mailbox
            paused, [other] = await watcher(daemons)
            await until(lambda: mailbox.clients == 1)
            paused.signal(signal.SIGSTOP)
            paused.let_lease_pass()
            await until(lambda: holder(other, "mailbox") == other.name)
            await until(lambda: mailbox.clients == 2)
            numbers = [f"+9724876543{n}" for n in range(5)]
            for number in numbers:
                await mailbox.deliver(incoming_mail(b"%PDF-1.4 of " + number.encode(), number.replace("+972", "0")))
            paused.signal(signal.SIGCONT)
            await until(lambda: sorted(received(other)) == numbers)
            await until(lambda: mailbox.clients == 1)
            assert sorted(received(other)) == numbers
            assert len(other.ask_database("SELECT 1 FROM event WHERE type = 'fax.received'")) == len(numbers)

    asyncio.run(main())


def test_p18_a_node_that_waits_for_its_upload_has_given_back_what_it_did_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with nodes(tmp_path, 2, reports=False) as daemons:
            first, [second] = await watcher(daemons)
            fax = await accepted(first, a_mail(), HANGS)
            await until(lambda: first.simulator.uploads)
            uploader = next(node for node in daemons if fax in node.log.read_text() and '"fax uploading"' in node.log.read_text())
            other = second if uploader is first else first
            uploader.signal(signal.SIGTERM)
            await until(lambda: {name for (name,) in other.ask_database("SELECT DISTINCT node FROM lease")} == {node_id(other)})
            assert '"daemon stopped"' not in uploader.log.read_text(encoding="utf-8")
            assert (await other.ask("show", id=fax))["state"] == "uploading"
            await uploader.kill()
            await other.becomes(fax, "in_doubt")
            assert len(first.simulator.uploads) == 1

    asyncio.run(main())


def node_id(node: Environment) -> str:
    [(found,)] = node.ask_database("SELECT id FROM node WHERE name = %s ORDER BY seen_at DESC LIMIT 1", node.name)
    return str(found)
