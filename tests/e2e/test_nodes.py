"""Rows P6, P7, P10 and P18 with several daemons on one database: the same mail at both, clocks, leases, a clean stop."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e.environment import Environment
from tests.e2e.failing_disk import Faults, build_shim
from tests.e2e.several_nodes import holder, name_of_uploader, nodes
from tests.e2e.test_durability import a_mail, accept_any_timestamp, accepted, in_half_an_hour
from tests.wait_helpers import until

pytestmark = pytest.mark.database("postgresql", reason="SQLite has one node")
# Mails that both nodes get at once; the full run has 1,000.
TWINS = int(os.environ.get("MAILBRIDGE_TWINS", "20"))


@pytest.fixture
def skewed(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Faults:
    return Faults(build_shim(tmp_path_factory.mktemp("shim")), tmp_path)


def test_p6_one_mail_given_to_two_nodes_at_once_is_one_envelope(tmp_path: Path) -> None:
    async def main() -> None:
        async with nodes(tmp_path, 2, myfax=False) as (one, other):
            for number in range(TWINS):
                mail = a_mail(f"<{number}@example.co.il>")
                ids = await asyncio.gather(accepted(one, mail), accepted(other, mail))
                assert ids[0] == ids[1]
            assert len(await one.ask("queue", limit=10_000)) == TWINS
            assert one.ask_database("SELECT count(*) FROM envelope") == [(TWINS,)]

    asyncio.run(main())


async def beats(*daemons: Environment) -> None:
    """Wait until these nodes have said twice that they work."""

    def seen() -> dict[str, int]:
        return dict(daemons[0].ask_database("SELECT name, max(seen_at) FROM node GROUP BY name"))

    for _ in range(2):
        before = seen()
        await until(lambda before=before: all(seen()[node.name] > before[node.name] for node in daemons))


@pytest.mark.parametrize("skew", [3600, -3600])
def test_p7_a_nodes_wrong_clock_takes_over_nothing_early_and_moves_no_deadline(tmp_path: Path, skewed: Faults, skew: int) -> None:
    async def main() -> None:
        async with nodes(tmp_path, 2, each=[{}, {"env": skewed.env}], start=False) as (right, wrong):
            accept_any_timestamp(right)
            skewed.skew(skew)
            await wrong.start()
            await right.start()
            later = await accepted(right, in_half_an_hour() + a_mail("<later@example.co.il>"))
            due = (await right.ask("show", id=later))["due_at"]
            hanging = await accepted(right, a_mail(), "03-9876592")  # MyFax never answers
            await until(lambda: right.simulator.uploads)
            uploader = name_of_uploader(right, hanging)
            for change in (skew, -skew):
                skewed.skew(change)
                await beats(right, wrong)
                assert (await right.ask("show", id=hanging))["state"] == "uploading"
                assert name_of_uploader(right, hanging) == uploader
            fresh = await accepted(wrong, a_mail("<fresh@example.co.il>"), "03-9876544")
            created = datetime.fromisoformat((await wrong.ask("show", id=fresh))["created_at"])
            [(now,)] = right.ask_database("SELECT now()")
            assert abs(created - now) < timedelta(minutes=30)
            assert (await right.ask("show", id=later))["due_at"] == due
            assert len(right.simulator.uploads) == 1

    asyncio.run(main())


def test_p10_what_one_node_does_at_a_time_passes_on_when_that_is_killed_paused_or_stopped(tmp_path: Path) -> None:
    async def main() -> None:
        async with nodes(tmp_path, 3) as daemons:
            left = list(daemons)

            async def held_by_one_of(these: list[Environment]) -> Environment:
                names = {node.name: node for node in these}
                await until(lambda: holder(left[0], "mailbox") in names)
                leases = left[0].ask_database("SELECT name, count(DISTINCT node) FROM lease GROUP BY name")
                assert {count for _, count in leases} == {1}
                return names[str(holder(left[0], "mailbox"))]

            for end in ("kill", "pause"):
                first = await held_by_one_of(left)
                if end == "kill":
                    await first.kill()
                    left.remove(first)
                else:
                    first.signal(signal.SIGSTOP)
                    first.let_lease_pass()
                second = await held_by_one_of([node for node in left if node is not first])
                await until(lambda second=second: '"mailbox up"' in second.log.read_text(encoding="utf-8"))
            first.signal(signal.SIGCONT)
            await beats(first)
            assert holder(left[0], "mailbox") == second.name
            assert await second.stop() == 0
            assert await held_by_one_of([first]) is first
            fax = await accepted(first, a_mail())
            await first.becomes(fax, "delivered")
            assert len(first.simulator.uploads) == 1

    asyncio.run(main())


def test_p18_a_clean_stop_gives_everything_back_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with nodes(tmp_path, 2) as daemons:
            await until(lambda: holder(daemons[0], "mailbox"))
            [first] = [node for node in daemons if node.name == holder(daemons[0], "mailbox")]
            [other] = [node for node in daemons if node is not first]
            assert await first.stop() == 0
            assert other.ask_database("SELECT name FROM node") == [(other.name,)]
            assert holder(other, "") in (other.name, None)
            await until(lambda: holder(other, "mailbox") == other.name)

    asyncio.run(main())
