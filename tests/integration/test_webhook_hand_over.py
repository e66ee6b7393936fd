"""A new delivery goes to its dispatcher in the commit that adds it: nothing is lost by that, and nothing is sent too early."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from mailbridge.config import Webhook
from mailbridge.errors import StoreUnavailable
from mailbridge.model import Delivery, Event
from mailbridge.runtime import Runtime
from mailbridge.store.hand_over import HandOver
from mailbridge.store.interface import Transaction
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.sqlite import SqliteStore
from mailbridge.webhook.dispatcher import CONCURRENCY, Dispatcher
from mailbridge.webhook.payload import fax_data
from tests.integration.webhook_fixtures import NEW, hang, raw, receiving, render
from tests.wait_helpers import until

T = TypeVar("T")


def clock() -> datetime:
    return datetime.now(UTC)


class CountedStore:
    """A store that counts the transactions of a dispatcher's turns."""

    def __init__(self, store: SqliteStore) -> None:
        self._store, self.turns = store, 0
        self.hand_over: HandOver = store.hand_over
        self.subscribe = store.subscribe

    async def run(self, work: Callable[[Transaction], T]) -> T:
        self.turns += 1
        return await self._store.run(work)


class Setup:
    """A store with the dispatcher of `crm` over it."""

    def __init__(self, store: SqliteStore, folder: Path) -> None:
        self.store, self.counted = store, CountedStore(store)
        self._runtime = Runtime(self.counted, LocalSpool(folder / "spool"), clock, lambda: 0.0)
        self._task: asyncio.Task[None] | None = None

    async def start(self, url: str, **options: Any) -> Dispatcher:
        """Run the dispatcher, up to where it waits for work."""
        hook = Webhook.model_validate({"url": url, "secret": NEW, "allow_private": True, **options})
        dispatcher = Dispatcher("crm", hook, self._runtime, render)
        self._task = asyncio.create_task(dispatcher.run())
        await until(lambda: self.store.hand_over._places.get("crm") == CONCURRENCY)
        return dispatcher

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def emit(self) -> Event:
        return await self.store.run(lambda tx: tx.events.emit("ping", {}, clock()))

    async def of(self, event: Event) -> Delivery:
        [delivery] = await self.store.run(lambda tx: tx.deliveries.newest(event_id=event.id))
        return delivery

    async def settled(self, event: Event) -> Delivery:
        async def there() -> bool:
            return (await self.of(event)).state == "delivered"

        await until(there)
        return await self.of(event)


def play(folder: Path, scenario: Callable[[Setup], Awaitable[None]]) -> None:
    async def main() -> None:
        async with SqliteStore(folder, fax_data, lambda _: ["crm"]) as store:
            setup = Setup(store, folder)
            try:
                await scenario(setup)
            finally:
                await setup.stop()

    asyncio.run(main())


def test_a_new_delivery_is_claimed_by_the_commit_that_adds_it(tmp_path: Path) -> None:
    async def scenario(setup: Setup) -> None:
        async with receiving() as (receiver, url):
            await setup.start(url)
            before = setup.counted.turns
            event = await setup.emit()
            claimed = await setup.of(event)
            delivered = await setup.settled(event)
            assert (claimed.state in ("sending", "delivered"), delivered.attempts) == (True, 1)
            # One turn stores the outcome; none was needed to claim it.
            await until(lambda: setup.store.hand_over._places["crm"] == CONCURRENCY)
            assert setup.counted.turns - before == 1
            assert [one["webhook-id"] for one in receiver.requests] == [event.id]

    play(tmp_path, scenario)


def test_an_event_whose_transaction_fails_is_never_sent(tmp_path: Path) -> None:
    async def scenario(setup: Setup) -> None:
        async with receiving() as (receiver, url):
            await setup.start(url)

            def fails(tx: Transaction) -> None:
                tx.events.emit("ping", {"n": "lost"}, clock())
                raise StoreUnavailable("not now")

            for _ in range(CONCURRENCY + 2):  # more than the places that the failed ones have taken
                with pytest.raises(StoreUnavailable):
                    await setup.store.run(fails)
            event = await setup.emit()
            await setup.settled(event)
            assert [one["webhook-id"] for one in receiver.requests] == [event.id]

    play(tmp_path, scenario)


def test_more_events_than_places_are_each_delivered_once(tmp_path: Path) -> None:
    async def scenario(setup: Setup) -> None:
        async with receiving() as (receiver, url):
            await setup.start(url)
            events = await setup.store.run(lambda tx: [tx.events.emit("ping", {}, clock()) for _ in range(5 * CONCURRENCY)])
            for event in events:
                await setup.settled(event)
            assert sorted(one["webhook-id"] for one in receiver.requests) == sorted(event.id for event in events)

    play(tmp_path, scenario)


def test_an_endpoint_that_hangs_is_handed_no_more_than_its_places(tmp_path: Path) -> None:
    async def scenario(setup: Setup) -> None:
        async with raw(hang) as (receiver, url):
            await setup.start(url, timeout="60s")
            for _ in range(3 * CONCURRENCY):
                await setup.emit()
            await until(lambda: receiver.posts == CONCURRENCY)
            counts = await setup.store.run(lambda tx: tx.deliveries.counts())
            assert counts == {("crm", "sending"): CONCURRENCY, ("crm", "pending"): 2 * CONCURRENCY}

    play(tmp_path, scenario)


def test_places_on_the_way_are_not_offered_a_second_time() -> None:
    async def main() -> None:
        hand_over, taken = HandOver(lambda _: None), list[Delivery]()
        hand_over.connect("crm", lambda delivery, _: taken.append(delivery))
        event = Event(id="evt_1", type="ping", at=clock(), fax_id=None, seq=0, data={})
        delivery = Delivery(id="dlv_1", event_id="evt_1", endpoint="crm", state="sending", due_at=clock(), attempts=1)

        def free_after_an_offer() -> bool:
            hand_over.offer("crm", 1)
            return hand_over.reserve("crm")

        hand_over.begin()
        assert free_after_an_offer()
        assert not free_after_an_offer()  # its commit is not known yet
        hand_over.hand(delivery, event)
        assert not free_after_an_offer()  # it has not arrived
        await until(lambda: taken == [delivery])
        assert free_after_an_offer()
        hand_over.begin()  # that commit has failed
        assert free_after_an_offer()

    asyncio.run(main())


def test_what_was_handed_to_a_dispatcher_that_has_ended_is_pending_again(tmp_path: Path) -> None:
    async def scenario(setup: Setup) -> None:
        async with receiving() as (receiver, url):
            # It offered a place, and ended before the commit was known here.
            setup.store.hand_over.offer("crm", 1)
            event = await setup.emit()

            async def pending() -> bool:
                return (await setup.of(event)).state == "pending"

            await until(pending)
            assert (await setup.of(event)).attempts == 0
            await setup.start(url)
            await setup.settled(event)
            assert len(receiver.requests) == 1

    play(tmp_path, scenario)


def test_a_crash_after_the_commit_leaves_a_delivery_that_the_next_start_sends(tmp_path: Path) -> None:
    async def scenario(setup: Setup) -> None:
        async with receiving() as (receiver, url):
            await setup.start("http://127.0.0.1:1/")
            setup.store.hand_over._takers["crm"] = lambda delivery, event: None  # as if the process ended here
            event = await setup.emit()
            assert (await setup.of(event)).state == "sending"
            await setup.stop()
            assert await setup.store.run(lambda tx: tx.deliveries.requeue_interrupted()) == 1
            await setup.start(url)
            delivered = await setup.settled(event)
            assert (len(receiver.requests), delivered.attempts) == (1, 2)

    play(tmp_path, scenario)


def test_a_stopped_endpoint_is_handed_nothing(tmp_path: Path) -> None:
    async def scenario(setup: Setup) -> None:
        async with receiving() as (receiver, url):
            await setup.start(url)
            receiver.answers.append((410, {}))
            await setup.emit()
            await until(lambda: setup.store.hand_over._places["crm"] == 0)
            event = await setup.emit()
            assert (await setup.of(event)).state == "pending"
            assert len(receiver.requests) == 1

    play(tmp_path, scenario)


def test_a_failed_delivery_does_not_keep_new_ones_from_being_handed_over(tmp_path: Path) -> None:
    async def scenario(setup: Setup) -> None:
        async with receiving() as (receiver, url):
            await setup.start(url)
            receiver.answers.append((503, {}))
            failed = await setup.emit()

            async def deferred() -> bool:
                return (await setup.of(failed)).due_at > clock() + timedelta(seconds=1)

            await until(deferred)
            await until(lambda: setup.store.hand_over._places["crm"] == CONCURRENCY)
            event = await setup.emit()
            assert (await setup.of(event)).state in ("sending", "delivered")
            await setup.settled(event)

    play(tmp_path, scenario)
