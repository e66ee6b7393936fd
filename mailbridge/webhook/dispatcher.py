"""Delivers what is due to one endpoint. Every webhook has a Dispatcher of its own.

Why every event arrives at least once:

1. An event is committed together with the change that it describes, with a pending delivery for each endpoint.
2. A turn claims due deliveries: they are `sending`, and the attempt is counted, before the first byte is sent. After a crash here
   or later, the next start makes them pending again, and the event is sent again with the same webhook-id. While a dispatcher has
   nothing else to do, the commit of step 1 has claimed a new delivery already (`store.hand_over`), and no turn is needed.
3. An answer becomes a transition (see `webhook.outcome`), which waits in `_finished` for the transaction of the next turn. If the
   store is unavailable it stays there, and is stored later without another POST. It is logged once it is stored.

So an event is sent again only if its answer could not be stored, and receivers ignore a repeated webhook-id.

Why a slow endpoint delays no other: endpoints share nothing but the store. Each has its own task, HTTP client, resolver thread,
and slots for concurrent requests. A turn claims one delivery for each free slot, plus as many as were delivered since the last
turn. So for an endpoint that hangs, no more are claimed than it has slots.

Why a turn is one transaction: it stores the outcomes of finished deliveries and claims the next ones. So in a burst many
deliveries share one flush of the disk, instead of two for each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, Final, NamedTuple

import httpx

from mailbridge import log, metrics
from mailbridge.config import Webhook
from mailbridge.errors import StoreUnavailable
from mailbridge.model import Delivery, Event, rfc3339
from mailbridge.runtime import Runtime
from mailbridge.store.delivery_interface import DeliveryChange
from mailbridge.store.interface import Transaction
from mailbridge.store.webhook_records import DeliveryTry, StoppedWebhook
from mailbridge.webhook.client import Result, WebhookClient
from mailbridge.webhook.guard import guarded_transport
from mailbridge.webhook.outcome import Outcome, may_be_too_large, outcome

# Returns the body of an event's deliveries to one endpoint.
Render = Callable[[Event], bytes]

# Concurrent requests to one endpoint.
CONCURRENCY: Final = 8
# Most deliveries that are claimed before a slot is free for them.
PREFETCH: Final = 24
# Seconds to wait after the store was unavailable.
_STORE_PAUSE: Final = 1.0
# Seconds for which the outcome of a delivery waits for others while nothing else is due. After a crash it is sent again.
_TOGETHER: Final = 0.01


@dataclass(frozen=True, slots=True)
class _Finished:
    """A claimed delivery whose outcome is to be stored."""

    delivery: Delivery
    event: Event
    result: Result | None  # None if it was not sent
    outcome: Outcome
    began: datetime
    at: datetime


class _Turn(NamedTuple):
    """What the transaction of a turn found."""

    claimed: list[tuple[Delivery, Event]]
    too_large: set[str]  # ids of those whose body was too large for the receiver before
    next_due: datetime | None
    stopped: StoppedWebhook | None


class Dispatcher:
    """Delivers to the endpoint `name` until cancelled. `render` returns an event's body in the form that the webhook asks for.

    `render_linked` returns it with a link in place of an inline document, for a receiver to which the body was too large (413).
    After an answer of 410 Gone nothing is sent, over restarts too, until the endpoint is removed from `tx.stopped_webhooks`.
    """

    def __init__(
        self, name: str, webhook: Webhook, runtime: Runtime, render: Render, render_linked: Render | None = None
    ) -> None:
        self._name, self._webhook, self._render, self._render_linked = name, webhook, render, render_linked or render
        self._store, self._clock, self._random = runtime.store, runtime.clock, runtime.random
        self._client = WebhookClient(webhook, runtime.clock)
        self._more_work, self._hand_over = runtime.store.subscribe(f"deliver:{name}"), runtime.store.hand_over
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self._in_flight: dict[asyncio.Task[None], str] = {}  # the id of the delivery of each
        self._finished: list[_Finished] = []
        self._prefetch = 0
        self._is_idle = False  # nothing was due but what is under way
        self._stopped: StoppedWebhook | None = None
        self._stopped_is_known = False

    @property
    def stopped(self) -> bool:
        """Whether nothing is sent: after a 410, and until the first turn has read from the store whether there was one."""
        return not self._stopped_is_known or self._stopped is not None or any(one.outcome.gone for one in self._finished)

    async def run(self) -> None:
        """Deliver what is due, then wait for more."""
        more_work = self._more_work
        async with guarded_transport(self._webhook.allow_private) as http:
            self._hand_over.connect(self._name, partial(self._start, http, self._render))
            try:
                while True:
                    more_work.clear()
                    try:
                        seconds = await self._turn(http)
                    except Exception as error:  # whatever it was, `_finished` is kept for the next turn
                        if isinstance(error, StoreUnavailable):
                            log.store_unavailable(self._name, error=str(error))
                        else:
                            log.dispatcher_crashed(self._name, error=repr(error))
                        await asyncio.sleep(_STORE_PAUSE)
                    else:
                        await self._wait(more_work, seconds)
                    if self._is_idle and self._finished and not self.stopped:
                        # Those that finish meanwhile share the commit.
                        await asyncio.sleep(_TOGETHER)
            finally:
                await self._close()

    def _free(self) -> int:
        return 0 if self.stopped else CONCURRENCY + self._prefetch - len(self._in_flight)

    async def _turn(self, http: httpx.AsyncBaseTransport) -> float | None:
        """Store what finished and start what is due; return the seconds until more is due, or None if nothing is pending."""
        finished, was_stopped = list(self._finished), self.stopped
        self._prefetch = min(PREFETCH, sum(one.outcome.trigger == "deliver" for one in finished))
        under_way = [*self._in_flight.values(), *(one.delivery.id for one in finished)]
        work = partial(self._settle_and_claim, finished, self._free(), self._clock(), was_stopped, under_way)
        turn = await self._commit(finished, work)
        for delivery, event in turn.claimed:
            self._start(http, self._render_linked if delivery.id in turn.too_large else self._render, delivery, event)
        self._offer(turn)
        if was_stopped:
            # Nothing was claimed: if the endpoint was started again, do that at once.
            return 0.0 if turn.stopped is None else None
        return None if turn.next_due is None else max(0.0, (turn.next_due - self._clock()).total_seconds())

    def _start(self, http: httpx.AsyncBaseTransport, render: Render, delivery: Delivery, event: Event) -> None:
        """Deliver an event for which the store has `sending`."""
        task = asyncio.create_task(self._deliver(http, delivery, event, render))
        self._in_flight[task] = delivery.id
        task.add_done_callback(self._in_flight.pop)

    def _offer(self, turn: _Turn) -> None:
        """Offer to take new deliveries at once, while nothing older is due."""
        self._is_idle = not self.stopped and (turn.next_due is None or turn.next_due > self._clock())
        self._hand_over.offer(self._name, CONCURRENCY - len(self._in_flight) if self._is_idle else 0)

    async def _commit(self, finished: Sequence[_Finished], work: Callable[[Transaction], _Turn]) -> _Turn:
        """Run the transaction that stores `finished`. Even if cancelled, wait for it: nothing may be stored twice."""
        commit = asyncio.ensure_future(self._store.run(work))
        try:
            return await asyncio.shield(commit)
        finally:
            if not commit.done():  # waiting for a finished one would be one more moment at which a cancellation may come
                await asyncio.wait([commit])
            if commit.exception() is None:
                self._set_stopped(commit.result().stopped)
                del self._finished[: len(finished)]
                for one in finished:
                    self._log(one)

    def _settle_and_claim(
        self,
        finished: Sequence[_Finished],
        free: int,
        now: datetime,
        was_stopped: bool,
        under_way: Sequence[str],
        tx: Transaction,
    ) -> _Turn:
        changes = [DeliveryChange(one.delivery.id, one.outcome.trigger, one.at, one.outcome.changes) for one in finished]
        for delivery_id, error in tx.deliveries.transition_all(changes).items():
            log.delivery_not_settled(self._name, delivery=delivery_id, error=str(error))
        for one in finished:
            if one.outcome.gone:
                self._stop(tx, one.outcome.changes["error"], one.at)
        tx.deliveries.add_tries([_try(one, one.result) for one in finished if one.result is not None])
        # Another node may have got the 410.
        stopped = tx.stopped_webhooks.get(self._name) if was_stopped or tx.shared else None
        claimed = tx.deliveries.claim(self._name, now, free, under_way) if free > 0 and stopped is None else []
        next_due = tx.deliveries.next_due(self._name) if len(claimed) < free else None
        return _Turn(claimed, self._too_large(tx, claimed), next_due, stopped)

    def _stop(self, tx: Transaction, reason: str, at: datetime) -> None:
        """Stop the endpoint, and report that to the others."""
        if tx.stopped_webhooks.add(self._name, reason, at):
            data = {"webhook": self._name, "error": reason, "stopped_at": rfc3339(at)}
            tx.events.emit("webhook.stopped", data, at, not_to=self._name)

    def _too_large(self, tx: Transaction, claimed: Sequence[tuple[Delivery, Event]]) -> set[str]:
        again = [delivery.id for delivery, _ in claimed if delivery.attempts > 1]
        if self._webhook.document != "inline" or not again:
            return set()
        return {one.delivery_id for one in tx.deliveries.tries(again) if may_be_too_large(one.status, one.error)}

    def _set_stopped(self, stopped: StoppedWebhook | None) -> None:
        if stopped is not None and stopped != self._stopped:
            log.webhook_stopped(self._name, error=stopped.reason, since=rfc3339(stopped.stopped_at))
        self._stopped, self._stopped_is_known = stopped, True

    async def _wait(self, more_work: asyncio.Event, seconds: float | None) -> None:
        """Return when a delivery finished, after `seconds`, or, if that matters, when there is more work."""
        if self._finished:
            return
        new = asyncio.create_task(more_work.wait())
        waiting: set[asyncio.Task[Any]] = set(self._in_flight)
        # While no slot is free, only one that becomes free matters: new work would make this a busy loop.
        if self._free() > 0 or self.stopped or not waiting:
            waiting.add(new)
        try:
            await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            new.cancel()

    async def _close(self) -> None:
        """Cancel requests under way, which the next start sends again, and store what has finished."""
        self._hand_over.disconnect(self._name)
        for task in self._in_flight:
            task.cancel()
        await asyncio.gather(*self._in_flight, return_exceptions=True)
        if not self._finished:
            return
        finished = list(self._finished)
        try:
            await self._commit(finished, partial(self._settle_and_claim, finished, 0, self._clock(), self.stopped, ()))
        except StoreUnavailable as error:
            log.store_unavailable(self._name, error=str(error))

    async def _deliver(self, http: httpx.AsyncBaseTransport, delivery: Delivery, event: Event, render: Render) -> None:
        async with self._slots:
            began = self._clock()
            result = None if self.stopped else await self._attempt(http, event, render)
        now = self._clock()
        self._finished.append(_Finished(delivery, event, result, outcome(delivery, result, now, self._random()), began, now))
        self._more_work.set()  # the loop may wait for others, and not know of this one

    async def _attempt(self, http: httpx.AsyncBaseTransport, event: Event, render: Render) -> Result:
        """POST an event. Any error fails this attempt only: raised, it would leave the delivery `sending`."""
        try:
            content = await self._body(event, render)
        except Exception as error:  # its document cannot be read, for example
            return Result(error=f"its body cannot be made ({type(error).__name__}: {error})")
        begun = asyncio.get_running_loop().time()
        try:
            result = await self._client.post(http, event, content)
        except Exception as error:
            return Result(error=f"{type(error).__name__}: {error}")
        finally:
            metrics.webhook_called(self._name, asyncio.get_running_loop().time() - begun)
        inline = self._webhook.document == "inline" and event.data.get("document") and render is not self._render_linked
        if inline and may_be_too_large(result.status, result.error):
            many = "may be" if result.status is None else "are"
            too_large = f"{len(content)} bytes {many} too many; the next try has a link to the document"
            return replace(result, error=f"{result.error}: {too_large}")
        return result

    async def _body(self, event: Event, render: Render) -> bytes:
        if not event.data.get("document"):
            return render(event)
        # A document is read from disk.
        async with asyncio.timeout(self._webhook.timeout):
            return await asyncio.to_thread(render, event)

    def _log(self, finished: _Finished) -> None:
        result, event = finished.result, finished.event
        if result is None:
            return
        levels = {"deliver": log.delivery_delivered, "defer": log.delivery_deferred}
        emit = levels.get(finished.outcome.trigger, log.delivery_dead)
        answer = {name: value for name in ("status", "error") if (value := getattr(result, name)) is not None}
        emit(event.fax_id or event.id, about_event=event.id, type=event.type, endpoint=self._name, **answer)


def _try(finished: _Finished, result: Result) -> DeliveryTry:
    return DeliveryTry(
        delivery_id=finished.delivery.id,
        at=finished.began,
        milliseconds=result.milliseconds,
        status=result.status,
        error=finished.outcome.changes.get("error"),
        answer=result.answer,
    )
