"""Deliveries to a real receiver that verifies with the Standard Webhooks library."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from mailbridge import log
from mailbridge.config import Webhook
from mailbridge.demo.receiver import Receiver
from mailbridge.lifecycle import DeliveryState
from mailbridge.model import Delivery, Event
from mailbridge.runtime import Runtime
from mailbridge.store.interface import Store
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.sqlite import SqliteStore
from mailbridge.webhook.client import WebhookClient
from mailbridge.webhook.dispatcher import Dispatcher
from mailbridge.webhook.payload import fax_data
from tests.integration.webhook_fixtures import NEW, OLD, now, render
from tests.wait_helpers import PATIENCE, until


async def settled(store: SqliteStore, state: DeliveryState, count: int = 1) -> list[Delivery]:
    found: list[Delivery] = []

    async def there() -> bool:
        found[:] = await store.run(lambda tx: tx.deliveries.newest(state))
        return len(found) >= count

    await until(there)
    return found


async def failed(store: SqliteStore, event: Event) -> Delivery:
    found: list[Delivery] = []

    async def there() -> bool:
        found[:] = await store.run(lambda tx: tx.deliveries.newest(event_id=event.id))
        return found[0].error is not None

    await until(there)
    return found[0]


def runtime(store: Store, state: Path, clock: Callable[[], datetime] = now) -> Runtime:
    return Runtime(store, LocalSpool(state / "spool"), clock, lambda: 0.0)


Scenario = Callable[[SqliteStore, Receiver, Dispatcher], Awaitable[None]]


def with_dispatcher(state: Path, scenario: Scenario, clock: Callable[[], datetime] = now, **options: Any) -> None:
    async def main() -> None:
        receiver = Receiver(options.pop("verify_by", NEW))
        settings = {"url": await receiver.start(), "secret": [NEW, OLD], "allow_private": True, **options}
        async with SqliteStore(state, fax_data, lambda _: ["crm"]) as store:
            dispatcher = Dispatcher("crm", Webhook.model_validate(settings), runtime(store, state, clock), render)
            running = asyncio.create_task(dispatcher.run())
            try:
                await scenario(store, receiver, dispatcher)
            finally:
                running.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await running
                await receiver.stop()

    asyncio.run(main())


async def ping(store: SqliteStore, clock: Callable[[], datetime] = now, **data: Any) -> Event:
    return await store.run(lambda tx: tx.events.emit("ping", data, clock()))


def test_an_event_arrives_once_and_signed(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore, receiver: Receiver, _: Dispatcher) -> None:
        event = await ping(store, text="שלום")
        assert (await receiver.wait("ping", PATIENCE))["data"] == {"text": "שלום"}
        assert receiver.requests[0]["webhook-id"] == event.id
        assert len(receiver.requests[0]["webhook-signature"].split()) == 2
        [delivery] = await settled(store, "delivered")
        assert (delivery.status, delivery.attempts, len(receiver.requests), receiver.forged) == (204, 1, 1, 0)

    with_dispatcher(tmp_path, scenario)


def test_the_old_secret_still_verifies_during_rotation(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore, receiver: Receiver, _: Dispatcher) -> None:
        await ping(store)
        assert await receiver.wait("ping", PATIENCE)

    with_dispatcher(tmp_path, scenario, verify_by=OLD)


def test_a_failure_is_retried_by_the_schedule_and_retry_after(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore, receiver: Receiver, _: Dispatcher) -> None:
        nonsense = {"retry-after": "Wed, 21 Oct 2015 07:28:00 +9999999999999"}
        receiver.answers.extend([(500, {}), (503, {"retry-after": "77"}), (302, {"location": "/elsewhere"}), (429, nonsense)])
        waits = {}
        for _n in range(4):
            event = await ping(store, lambda: start)
            d = await failed(store, event)
            waits[d.status] = (d.due_at - start).total_seconds()
            assert d.state == "pending"
        assert waits == {500: 5, 503: 77, 302: 5, 429: 5}
        assert receiver.events == []

    start = now()
    with_dispatcher(tmp_path, scenario, lambda: start)


def test_a_lost_connection_has_a_readable_error() -> None:
    def broken(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("")

    async def main() -> None:
        webhook = Webhook.model_validate({"url": "https://crm.example.co.il/", "secret": NEW})
        event = Event(id="evt_1", type="ping", at=now(), fax_id=None, seq=0, data={})
        result = await WebhookClient(webhook, now).post(httpx.MockTransport(broken), event, b"{}")
        assert result.error == "the connection was lost (ReadError)"

    asyncio.run(main())


def test_410_stops_the_endpoint(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore, receiver: Receiver, dispatcher: Dispatcher) -> None:
        receiver.answers.append((410, {}))
        await ping(store)
        [dead] = await settled(store, "dead")
        assert (dead.status, dispatcher.stopped) == (410, True)
        await ping(store)
        assert len(receiver.requests) == 1

    with_dispatcher(tmp_path, scenario)


def test_a_private_receiver_is_refused_when_connecting(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore, receiver: Receiver, _: Dispatcher) -> None:
        d = await failed(store, await ping(store))
        assert "not a public address" in (d.error or "")
        assert receiver.requests == []

    with_dispatcher(tmp_path, scenario, allow_private=False, url="https://127.0.0.1:9/")


def test_many_events_are_each_delivered_once(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore, receiver: Receiver, _: Dispatcher) -> None:
        await asyncio.gather(*(ping(store, n=n) for n in range(100)))
        await settled(store, "delivered", 100)
        assert sorted(event["data"]["n"] for event in receiver.events) == list(range(100))
        assert len(receiver.requests) == 100

    with_dispatcher(tmp_path, scenario)


@pytest.mark.parametrize("steps", range(-1, 10))
def test_a_stop_while_the_store_commits_a_delivery_logs_it_once_and_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """The stop comes while the store commits (-1), or so many steps of the event loop after it has committed."""
    logged: list[str] = []
    monkeypatch.setattr(log, "delivery_delivered", lambda *_, **__: logged.append("delivered"))
    for failure in ("store_unavailable", "dispatcher_crashed", "delivery_not_settled"):
        monkeypatch.setattr(log, failure, lambda *_, **facts: logged.append(str(facts)))

    class Stopping:
        """A store that stops the dispatcher when a delivery is settled."""

        def __init__(self, store: SqliteStore) -> None:
            self.subscribe, self.hand_over, self._store = store.subscribe, store.hand_over, store
            self.running: asyncio.Task[None] | None = None

        async def run(self, work: Callable[[Any], Any]) -> Any:
            done = await self._store.run(work)
            delivered = await self._store.run(lambda tx: tx.deliveries.newest("delivered"))
            if self.running and delivered:
                self._stop(self.running, steps)
                self.running = None
                for _ in range(20 if steps < 0 else 1):
                    await asyncio.sleep(0)
            return done

        def _stop(self, running: asyncio.Task[None], steps: int) -> None:
            if steps <= 0:
                running.cancel()
            else:
                asyncio.get_running_loop().call_soon(self._stop, running, steps - 1)

    async def main() -> None:
        receiver = Receiver(NEW)
        settings = {"url": await receiver.start(), "secret": NEW, "allow_private": True}
        async with SqliteStore(tmp_path, fax_data, lambda _: ["crm"]) as store:
            stopping: Any = Stopping(store)
            dispatcher = Dispatcher("crm", Webhook.model_validate(settings), runtime(stopping, tmp_path), render)
            stopping.running = running = asyncio.create_task(dispatcher.run())
            await ping(store)
            await asyncio.wait([running], timeout=PATIENCE)
            assert running.cancelled()
        await receiver.stop()

    asyncio.run(main())
    assert logged == ["delivered"]
