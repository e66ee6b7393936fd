"""Four nodes do everything at a time in one PostgreSQL: nothing is done twice or forgotten, and nobody is shown a rivalry."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from mailbridge.model import Attempt, Fax
from mailbridge.store.delivery_interface import DeliveryChange
from mailbridge.store.interface import Transaction
from mailbridge.store.postgres import PostgresStore
from tests.factories import NOW, a_fax, an_envelope
from tests.postgres_server import PostgresServer
from tests.store.factories import a_store, ask
from tests.wait_helpers import until

pytestmark = pytest.mark.usefixtures("only_postgres")

NODES, MAILS = 4, 12
SINCE = NOW - timedelta(days=1)


def accept(tx: Transaction, keys: list[str]) -> None:
    """Store mails that another node may get at the same time, as a batch of the submission."""
    known = tx.submissions.fax_ids(keys, SINCE)
    for key in keys:
        if key not in known:
            faxes = [a_fax(number=f"+9723987{key[-2:]:>02}{n}", user=f"user{n}") for n in range(3)]
            tx.submissions.add(an_envelope(user="dana"), faxes, key, NOW)
    tx.submissions.count_faxes("dana", SINCE)


def upload(tx: Transaction) -> list[str]:
    free = tx.faxes.free_uploads("office", 5)
    claimed: list[Fax] = []
    for fax in tx.faxes.due_uploads(NOW, "office", 1, free) if free else []:
        if tx.faxes.may_call(fax.number, 1, again=fax.number in {one.number for one in claimed}):
            claimed.append(tx.faxes.transition(fax.id, "claim", NOW, attempts=(Attempt(n=1, started_at=NOW),)))
    return [fax.id for fax in claimed]


def finish(tx: Transaction, fax_id: str) -> None:
    tx.faxes.mark_whole(fax_id, 1, NOW)
    tx.faxes.transition(fax_id, "accept", NOW, fax_code="code")
    tx.faxes.transition(fax_id, "confirm", NOW)
    tx.conditions.set("relay is down", on=int(fax_id[-1], 36) % 2 == 0)


def deliver(tx: Transaction) -> list[str]:
    claimed = [delivery.id for delivery, _ in tx.deliveries.claim("crm", NOW, 7)]
    # In another order than that of the claim, as answers come.
    assert not tx.deliveries.transition_all([DeliveryChange(id, "deliver", NOW, {}) for id in claimed[::-1]])
    return claimed


async def work(node: PostgresStore, number: int, done: Counter[str], delivered: Counter[str]) -> None:
    async def mails() -> None:
        for start in range(0, MAILS, 3):
            keys = [f"key{n:02}" for n in range(start, start + 3)]
            await node.run(lambda tx, keys=keys: accept(tx, keys if number % 2 else keys[::-1]))  # type: ignore[misc]  # a default has no type

    async def uploads() -> None:
        while sum(done.values()) < MAILS * 3:
            for fax_id in await node.run(upload):
                done[fax_id] += 1
                await node.run(lambda tx, id=fax_id: finish(tx, id))  # type: ignore[misc]  # a default has no type

    async def deliveries() -> None:
        while sum(delivered.values()) < MAILS * 3 * 2:
            delivered.update(await node.run(deliver))

    await asyncio.gather(mails(), uploads(), uploads(), deliveries())


def test_p8_under_mixed_load_no_rivalry_is_seen_and_nothing_is_done_twice(tmp_path: Path) -> None:
    done, delivered = Counter[str](), Counter[str]()

    async def main() -> None:
        async with AsyncExitStack() as stack:
            nodes = []
            for _ in range(NODES):
                store = a_store(tmp_path)
                assert isinstance(store, PostgresStore)
                nodes.append(await stack.enter_async_context(store))
            await asyncio.gather(*(work(node, number, done, delivered) for number, node in enumerate(nodes)))
            assert await nodes[0].run(lambda tx: tx.faxes.counts()) == {"delivered": MAILS * 3}

    asyncio.run(main())
    assert (set(done.values()), set(delivered.values())) == ({1}, {1})
    assert ask(tmp_path, "SELECT count(*) FROM envelope") == [(MAILS,)]
    assert ask(tmp_path, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == [(0,)]


def test_nodes_that_try_the_database_again_at_the_same_moment_refuse_nothing(
    tmp_path: Path, only_postgres: PostgresServer
) -> None:
    """After an outage every node first writes as much as a mail takes, into the same row."""

    async def main() -> None:
        async with a_store(tmp_path) as node:
            ask(tmp_path, "INSERT INTO meta VALUES ('written', 'before')")
            with psycopg.connect(only_postgres.url(only_postgres.database(str(tmp_path)))) as other:
                other.execute("DELETE FROM meta WHERE key = 'written'")
                other.execute("INSERT INTO meta VALUES ('written', 'by another node')")
                node._writer.healthy, node._writer._undecided = False, True
                done = asyncio.ensure_future(node.run(lambda tx: "done"))
                await until(lambda: ask(tmp_path, "SELECT 1 FROM pg_locks WHERE NOT granted") != [])
                other.commit()
            assert await done == "done"
            assert node.healthy

    asyncio.run(main())
