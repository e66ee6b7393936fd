"""P17: what limits uploads and deliveries is the same for every node, and survives a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from mailbridge.config import Webhook
from mailbridge.control.fax_actions import resume
from mailbridge.fax.outcome import UploadOutcome
from mailbridge.fax.pause import DOUBTS_BEFORE_PAUSE, PAUSE, AccountPause
from mailbridge.runtime import Runtime
from mailbridge.store.interface import Transaction
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.sending_state import SendingState
from mailbridge.store.sql_store import SqlStore
from mailbridge.webhook.dispatcher import Dispatcher
from tests.factories import NOW, a_fax, an_envelope
from tests.integration.webhook_fixtures import NEW, now, receiving, render
from tests.postgres_server import PostgresServer
from tests.store import factories
from tests.store.factories import a_store, go
from tests.wait_helpers import until

LOST, ACCEPTED, DEFERRED = UploadOutcome("lose"), UploadOutcome("accept"), UploadOutcome("defer")


Scenario = Callable[[SqlStore], Awaitable[None]]


def with_a_second(path: Path, first: Scenario, second: Scenario) -> None:
    """Run `first` on one node, then `second` on another while the first still works; with SQLite after a restart."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            node: SqlStore = await stack.enter_async_context(a_store(path))
            await first(node)
            if factories.server is None:
                await stack.aclose()
            async with a_store(path) as other:
                await second(other)

    asyncio.run(main())


async def count(store: SqlStore, pause: AccountPause, *outcomes: UploadOutcome) -> None:
    for outcome in outcomes:
        pause.counted(outcome, await store.run(lambda tx, one=outcome: pause.count(tx, one, NOW)))  # type: ignore[misc]  # a default has no type


async def read(store: SqlStore, pause: AccountPause, later: timedelta = timedelta()) -> SendingState:
    return await store.run(lambda tx: pause.read(tx, NOW + later))


async def emitted(store: SqlStore) -> list[str]:
    return [event.type for event in await store.run(lambda tx: tx.events.newest())][::-1]


@pytest.mark.usefixtures("database")
def test_p17_doubts_of_two_nodes_pause_the_account_for_both_until_one_gets_an_answer(tmp_path: Path) -> None:
    mine, others = AccountPause("office"), AccountPause("office")

    async def first(store: SqlStore) -> None:
        await count(store, mine, *[LOST] * (DOUBTS_BEFORE_PAUSE - 1))
        assert (await read(store, mine)).paused_until is None

    async def second(store: SqlStore) -> None:
        await count(store, others, LOST)
        state = await read(store, others)
        assert state == SendingState(doubts=DOUBTS_BEFORE_PAUSE, paused_until=NOW + PAUSE)
        assert await read(store, AccountPause("office")) == state
        assert await read(store, AccountPause("sales")) == SendingState()
        # The trial that finds MyFax unreachable begins another pause, and an answer ends it, once for all.
        await count(store, others, DEFERRED, ACCEPTED)
        assert await read(store, AccountPause("office")) == SendingState()
        await count(store, mine, ACCEPTED)
        assert await emitted(store) == ["account.paused", "account.resumed"]

    with_a_second(tmp_path, first, second)


@pytest.mark.usefixtures("database")
def test_p17_an_answer_to_one_node_forgets_the_doubts_of_another(tmp_path: Path) -> None:
    mine, others = AccountPause("office"), AccountPause("office")

    async def first(store: SqlStore) -> None:
        await count(store, mine, *[LOST] * (DOUBTS_BEFORE_PAUSE - 1))

    async def second(store: SqlStore) -> None:
        await read(store, others)
        await count(store, others, ACCEPTED, LOST)
        assert await read(store, mine) == SendingState(doubts=1)

    with_a_second(tmp_path, first, second)


@pytest.mark.usefixtures("database")
def test_p17_a_pause_is_not_made_longer_by_a_clock_that_is_set_back(tmp_path: Path) -> None:
    async def first(store: SqlStore) -> None:
        await count(store, AccountPause("office"), *[LOST] * DOUBTS_BEFORE_PAUSE)
        await store.run(lambda tx: tx.conditions.hold_sending("office", on=True))

    async def second(store: SqlStore) -> None:
        back = timedelta(hours=-1)
        state = await read(store, AccountPause("office"), back)
        assert state == SendingState(held=True, doubts=DOUBTS_BEFORE_PAUSE, paused_until=NOW + back + PAUSE)
        assert await read(store, AccountPause("office"), back) == state

    with_a_second(tmp_path, first, second)


@pytest.mark.usefixtures("database")
def test_p17_the_doubts_of_many_nodes_at_once_are_all_counted(tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            nodes = [await stack.enter_async_context(a_store(tmp_path)) for _ in range(1 if factories.server is None else 4)]
            until = NOW + PAUSE
            await asyncio.gather(*(node.run(lambda tx: tx.sending.add_doubt("office", 99, until)) for node in nodes * 5))
            assert (await read(nodes[0], AccountPause("office"))).doubts == len(nodes) * 5

    asyncio.run(main())


def test_p17_a_webhook_that_one_node_has_stopped_gets_nothing_from_another_until_it_is_started_again(
    tmp_path: Path, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(factories, "server", postgres_server)

    async def emit(store: SqlStore) -> str:
        return (await store.run(lambda tx: tx.events.emit("ping", {}, now()))).id

    async def main() -> None:
        async with AsyncExitStack() as stack:
            receiver, url = await stack.enter_async_context(receiving())
            hook = Webhook.model_validate({"url": url, "secret": NEW, "allow_private": True})
            nodes: list[SqlStore] = [await stack.enter_async_context(a_store(tmp_path)) for _ in range(2)]
            runtimes = [Runtime(node, LocalSpool(tmp_path / "spool"), now, lambda: 0.0) for node in nodes]
            one, other = (Dispatcher("crm", hook, runtime, render) for runtime in runtimes)
            tasks = [asyncio.create_task(dispatcher.run()) for dispatcher in (one, other)]
            try:
                await until(lambda: not (one.stopped or other.stopped))
                receiver.answers.append((410, {}))
                gone = await emit(nodes[0])
                await until(lambda: one.stopped and other.stopped)
                waiting = [await emit(node) for node in nodes]
                assert [dict(one)["webhook-id"] for one in receiver.requests] == [gone]
                await nodes[1].run(lambda tx: tx.stopped_webhooks.remove("crm"))
                await until(lambda: {dict(one)["webhook-id"] for one in receiver.requests} == {gone, *waiting})
                await until(lambda: not (one.stopped or other.stopped))
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())


@pytest.mark.usefixtures("database")
def test_p17_reports_to_several_nodes_make_a_fax_due_once_a_minute(tmp_path: Path) -> None:
    fax = a_fax()
    later = NOW + timedelta(hours=1)

    async def due_after_a_request(store: SqlStore, at: datetime) -> datetime:
        def request(tx: Transaction) -> datetime:
            tx.faxes.update(fax.id, due_at=later)
            tx.poll_requests.request(tx.faxes.get(fax.id), at)
            return tx.faxes.get(fax.id).due_at

        return await store.run(request)

    async def first(store: SqlStore) -> None:
        await store.run(lambda tx: tx.submissions.add(an_envelope(), [fax], None, NOW))
        assert await due_after_a_request(store, NOW) == later  # it is queued
        await go(store, fax.id, "submitted")
        assert await due_after_a_request(store, NOW) == NOW

    async def second(store: SqlStore) -> None:
        assert await due_after_a_request(store, NOW + timedelta(seconds=59)) == later
        again, back = NOW + timedelta(seconds=60), NOW - timedelta(days=1)
        assert await due_after_a_request(store, again) == again
        # The clock was set back: a request of the future hinders none.
        assert await due_after_a_request(store, back) == back

    with_a_second(tmp_path, first, second)


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("account", [None, "office", "sales"])
def test_p17_a_person_ends_the_pause_for_every_node(tmp_path: Path, account: str | None) -> None:
    pause = AccountPause("office")

    async def first(store: SqlStore) -> None:
        await count(store, pause, *[LOST] * DOUBTS_BEFORE_PAUSE)

    async def second(store: SqlStore) -> None:
        woken = store.subscribe("upload:office")
        woken.clear()
        await resume(store, lambda: NOW, account=account)
        ended = account != "sales"
        assert ((await read(store, pause)) == SendingState(), woken.is_set()) == (ended, ended)
        assert await emitted(store) == ["account.paused", *["account.resumed"] * ended]

    with_a_second(tmp_path, first, second)
