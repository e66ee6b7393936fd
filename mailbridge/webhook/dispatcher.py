"""Deliver what is due to one endpoint. Each endpoint has a sender of its own, so that a slow one delays nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

import httpx

from mailbridge import log, retry
from mailbridge.config import Webhook
from mailbridge.errors import IllegalTransition, NotFound, StoreUnavailable
from mailbridge.lifecycle import DeliveryTrigger
from mailbridge.model import Delivery, Event
from mailbridge.store.interface import Store, Transaction
from mailbridge.webhook.client import Result, WebhookClient
from mailbridge.webhook.guard import client

# A receiver that answers slowly is waited for by this many deliveries at once, and not by more.
CONCURRENCY = 8
# As many as were delivered in a turn are claimed ahead for the next one, up to this many; of an endpoint that hangs, none.
AHEAD = 24
_STORE_PAUSE = 1.0
_STOPPED = "HTTP 410: it wants no more events, and none is sent until mailbridge replay --endpoint or the next start"


@dataclass(frozen=True, slots=True)
class _Back:
    """A delivery that came back at `at`; without a result it was not tried."""

    delivery: Delivery
    event: Event
    result: Result | None
    trigger: DeliveryTrigger
    changes: dict[str, Any]
    at: datetime


class _Turn(NamedTuple):
    """What one transaction gave: claimed deliveries, when the next is due, and how many of the endpoint are dead."""

    claimed: list[tuple[Delivery, Event]]
    due_at: datetime | None
    dead: int


class Dispatcher:
    """Delivers to one endpoint until cancelled. `render` gives an event's body as this endpoint asked for it.

    After an answer of 410 Gone it is `stopped`, until a dead delivery to this endpoint is replayed.
    """

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
        self._client = WebhookClient(webhook, clock)
        self._places = asyncio.Semaphore(CONCURRENCY)
        self._under_way: set[asyncio.Task[None]] = set()
        self._back: list[_Back] = []
        self._ahead = self._dead = 0
        self.stopped = False

    async def run(self) -> None:
        """Deliver what is due, and wait for more."""
        wakeup = self._store.subscribe(f"deliver:{self._name}")
        async with client(self._webhook.allow_private, self._webhook.timeout) as http:
            try:
                while True:
                    wakeup.clear()
                    try:
                        waits = await self._turn(http)
                    except Exception as error:  # what came back is kept for the next turn
                        if isinstance(error, StoreUnavailable):
                            log.store_unavailable(self._name, error=str(error))
                        else:
                            log.dispatcher_crashed(self._name, error=repr(error))
                        await asyncio.sleep(_STORE_PAUSE)
                    else:
                        await self._wake(wakeup, waits)
            finally:
                await self._leave()

    def _free(self) -> int:
        return 0 if self.stopped else CONCURRENCY + self._ahead - len(self._under_way)

    async def _turn(self, http: httpx.AsyncClient) -> float | None:
        """Settle what came back, start what is due, in one transaction; return the seconds until more is due, if any is."""
        now, back = self._clock(), list(self._back)
        self._ahead = min(AHEAD, sum(one.trigger == "deliver" for one in back))
        free = self._free()
        turn = await self._exchanged(back, partial(self._exchange, back, free, now, self.stopped))
        for delivery, event in turn.claimed:
            task = asyncio.create_task(self._deliver(http, delivery, event))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        if self.stopped:
            return self._look_for_a_replay(turn.dead)
        return None if turn.due_at is None else max(0.0, (turn.due_at - self._clock()).total_seconds())

    async def _exchanged(self, back: Sequence[_Back], work: Callable[[Transaction], _Turn]) -> _Turn:
        """Settle what came back and tell it. Where this is cut, the store is not: what it did must not be settled twice."""
        exchange = asyncio.ensure_future(self._store.run(work))
        try:
            return await asyncio.shield(exchange)
        finally:
            await asyncio.wait([exchange])
            if exchange.exception() is None:
                del self._back[: len(back)]
                for one in back:
                    self._tell(one)

    def _exchange(self, back: Sequence[_Back], free: int, now: datetime, stopped: bool, tx: Transaction) -> _Turn:
        for one in back:
            try:
                tx.deliveries.transition(one.delivery.id, one.trigger, one.at, **one.changes)
            except (NotFound, IllegalTransition) as error:
                log.delivery_not_settled(self._name, delivery=one.delivery.id, error=str(error))
        claimed = tx.deliveries.claim(self._name, now, free) if free > 0 else []
        due_at = tx.deliveries.next_due(self._name) if len(claimed) < free else None
        return _Turn(claimed, due_at, tx.deliveries.counts().get((self._name, "dead"), 0) if stopped else 0)

    def _look_for_a_replay(self, dead: int) -> float | None:
        replayed = dead < self._dead
        self._dead = 0 if replayed else dead
        self.stopped = not replayed
        return 0.0 if replayed else None

    async def _wake(self, wakeup: asyncio.Event, seconds: float | None) -> None:
        if self._back:
            return
        woken = asyncio.create_task(wakeup.wait())
        waiting: set[asyncio.Task[Any]] = set(self._under_way)
        # While every place is taken only a place that comes free matters, else the wakeup would turn this into a spin.
        if self._free() > 0 or self.stopped or not waiting:
            waiting.add(woken)
        try:
            await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()

    async def _leave(self) -> None:
        """Cut what is under way, which the next start sends again, and settle what has come back."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        if not self._back:
            return
        try:
            back = list(self._back)
            await self._exchanged(back, partial(self._exchange, back, 0, self._clock(), False))
        except StoreUnavailable as error:
            log.store_unavailable(self._name, error=str(error))

    async def _deliver(self, http: httpx.AsyncClient, delivery: Delivery, event: Event) -> None:
        async with self._places:
            result = None if self.stopped else await self._try(http, event)
        now = self._clock()
        if result is not None and result.status == 410 and not self.stopped:
            self.stopped = True
            log.webhook_stopped(self._name, error=_STOPPED)
        trigger, changes = self._verdict(delivery, result, now)
        self._back.append(_Back(delivery, event, result, trigger, changes, now))

    async def _try(self, http: httpx.AsyncClient, event: Event) -> Result:
        """POST an event. Whatever goes wrong costs this try alone: an error that left would leave the delivery `sending`."""
        try:
            content = await self._body(event)
        except Exception as error:  # its document cannot be read, say
            return Result(error=f"its body cannot be made ({type(error).__name__}: {error})")
        try:
            return await self._client.post(http, event, content)
        except Exception as error:
            return Result(error=f"{type(error).__name__}: {error}")

    async def _body(self, event: Event) -> bytes:
        if not event.data.get("document"):
            return self._render(event)
        async with asyncio.timeout(self._webhook.timeout):
            return await asyncio.to_thread(self._render, event)

    def _verdict(self, delivery: Delivery, result: Result | None, now: datetime) -> tuple[DeliveryTrigger, dict[str, Any]]:
        if result is None:
            return "defer", {"due_at": now, "attempts": delivery.attempts - 1}
        # A receiver's words may hold what the database cannot.
        error = result.error and result.error.encode("utf-8", "replace").decode()[:200]
        told = {"status": result.status, "error": error}
        if error is None:
            return "deliver", told
        if result.status == 410:
            return "reject", {**told, "error": _STOPPED}
        delay = retry.webhook_delay(delivery.attempts, self._random())
        if delay is None:
            return "exhaust", told
        return "defer", {**told, "due_at": now + timedelta(seconds=max(delay, result.retry_after or 0.0))}

    def _tell(self, back: _Back) -> None:
        result, event = back.result, back.event
        if result is None:
            return
        tell = {"deliver": log.delivery_delivered, "defer": log.delivery_deferred}.get(back.trigger, log.delivery_dead)
        facts = {"about_event": event.id, "type": event.type, "endpoint": self._name}
        answer = {name: value for name in ("status", "error") if (value := getattr(result, name)) is not None}
        tell(event.fax_id or event.id, **facts, **answer)
