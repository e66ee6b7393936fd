"""Deliver what is due to one endpoint. Each endpoint has a sender of its own, so that a slow one delays nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import httpx

from mailbridge import log, retry
from mailbridge.config import Webhook
from mailbridge.errors import StoreUnavailable
from mailbridge.lifecycle import DeliveryTrigger
from mailbridge.model import Delivery, Event
from mailbridge.store.base import Store
from mailbridge.webhook.guard import client
from mailbridge.webhook.post import Poster, Result

# A receiver that answers slowly is waited for by this many deliveries at once, and not by more.
CONCURRENCY = 8
_STORE_PAUSE = 1.0


class Sender:
    """Delivers to one endpoint until cancelled. `render` gives an event's body as this endpoint asked for it."""

    def __init__(
        self,
        name: str,
        webhook: Webhook,
        store: Store,
        clock: Callable[[], datetime],
        random: Callable[[], float],
        render: Callable[[Event], bytes],
    ) -> None:
        self._name, self._webhook, self._store = name, webhook, store
        self._clock, self._random, self._render = clock, random, render
        self._poster = Poster(webhook, clock)
        self._under_way: set[asyncio.Task[None]] = set()
        self.stopped = False

    async def run(self) -> None:
        """Deliver what is due, wait for more; ends when cancelled, or when the endpoint answered 410 Gone."""
        bell = self._store.bell(f"deliver:{self._name}")
        async with client(self._webhook.allow_private, self._webhook.timeout) as http:
            while not self.stopped:
                bell.clear()
                try:
                    await self._start_due(http)
                    waits = await self._wait_seconds()
                except StoreUnavailable as error:
                    log.service_failed(self._name, error=str(error))
                    waits = _STORE_PAUSE
                await self._wake(bell, waits)

    async def _start_due(self, http: httpx.AsyncClient) -> None:
        free = CONCURRENCY - len(self._under_way)
        if free <= 0:
            return
        now = self._clock()
        for delivery, event in await self._store.run(lambda tx: tx.claim_deliveries(self._name, now, free)):
            task = asyncio.create_task(self._deliver(http, delivery, event))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _wait_seconds(self) -> float | None:
        if len(self._under_way) >= CONCURRENCY:
            return None
        due = await self._store.run(lambda tx: tx.next_delivery(self._name))
        return None if due is None else max(0.0, (due - self._clock()).total_seconds())

    async def _wake(self, bell: asyncio.Event, seconds: float | None) -> None:
        ringing = asyncio.create_task(bell.wait())
        # While every place is taken only a place that comes free matters, else the bell would turn this into a spin.
        waiting: set[asyncio.Task[Any]] = set(self._under_way) if len(self._under_way) >= CONCURRENCY else {ringing}
        try:
            await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ringing.cancel()

    async def _deliver(self, http: httpx.AsyncClient, delivery: Delivery, event: Event) -> None:
        result = await self._poster.post(http, event, self._render(event))
        now = self._clock()
        trigger, changes = self._verdict(delivery, result, now)
        await self._store.run(lambda tx: tx.settle(delivery.id, trigger, now, **changes))
        tell = {"deliver": log.delivery_delivered, "defer": log.delivery_deferred}.get(trigger, log.delivery_dead)
        facts = {"event": event.id, "type": event.type, "endpoint": self._name, "status": result.status, "error": result.error}
        tell(event.fax_id or event.id, **{f"about_{k}" if k == "event" else k: v for k, v in facts.items() if v is not None})

    def _verdict(self, delivery: Delivery, result: Result, now: datetime) -> tuple[DeliveryTrigger, dict[str, Any]]:
        told = {"status": result.status, "error": result.error}
        if result.error is None:
            return "deliver", told
        if result.status == 410:
            self.stopped = True
            return "reject", told
        delay = retry.webhook_delay(delivery.attempts, self._random())
        if delay is None:
            return "exhaust", told
        return "defer", {**told, "due_at": now + timedelta(seconds=max(delay, result.retry_after or 0.0))}
