"""Row P1: nodes on one database are killed at random moments under load. See `test_kill.py`."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from tests.e2e.several_nodes import nodes
from tests.e2e.test_kill import MORE, ROUNDS, SEED, Moments, check_results, sending

pytestmark = pytest.mark.database("postgresql", reason="SQLite has one node")


def test_p1_random_nodes_are_killed_under_load(tmp_path: Path) -> None:
    async def main() -> None:
        chance = random.Random(SEED)
        async with nodes(tmp_path, 3, more=MORE, step=0.05, uploads=10) as daemons:
            moments = Moments(daemons[0], chance, longest=3.0)
            async with sending(daemons[0], *(node.smtp[1] for node in daemons)) as clients:
                for _ in range(ROUNDS):
                    await moments.wait()
                    node = chance.choice(daemons)
                    await node.kill(lease_passes=chance.random() < 0.5)  # otherwise it passes while the next ones are killed
                    await node.start(ready=False)  # nobody watches the mailbox until the lease of a killed node has passed
            for node in daemons:
                await node.becomes_ready()
            await check_results(daemons, clients)
            assert daemons[0].ask_database("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == [(0,)]
            assert not any("Traceback" in node.log.read_text(encoding="utf-8") for node in daemons)

    asyncio.run(main())
