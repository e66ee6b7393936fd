"""Sign and POST the due deliveries of one endpoint. Each endpoint has a sender of its own, so that a slow one delays nobody."""

from __future__ import annotations

import asyncio
import email.utils
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from standardwebhooks import Webhook as Signer

from mailbridge import log, retry
from mailbridge.config import Webhook
from mailbridge.errors import StoreUnavailable
from mailbridge.lifecycle import DeliveryTrigger
from mailbridge.model import Delivery, Event
from mailbridge.store.base import Store
from mailbridge.webhook.guard import client

# A receiver that answers slowly is waited for by this many deliveries at once, and not by more.
CONCURRENCY = 8
# Nothing in an answer's body matters; a dripping or endless one is cut here.
_ANSWER_LIMIT = 64 * 1024
_LONGEST_RETRY_AFTER = 24 * 3600.0
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
        self._signers = [Signer(secret.get_secret_value()) for secret in webhook.secrets]
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
        status, error, retry_after = await self._post(http, event)
        now = self._clock()
        trigger, changes = self._verdict(delivery, status, error, retry_after, now)
        await self._store.run(lambda tx: tx.settle(delivery.id, trigger, now, **changes))
        tell = {"deliver": log.delivery_delivered, "defer": log.delivery_deferred}.get(trigger, log.delivery_dead)
        facts = {"event": event.id, "type": event.type, "endpoint": self._name, "status": status, "error": error}
        tell(event.fax_id or event.id, **{f"about_{k}" if k == "event" else k: v for k, v in facts.items() if v is not None})

    async def _post(self, http: httpx.AsyncClient, event: Event) -> tuple[int | None, str | None, float | None]:
        """Return the HTTP status, what went wrong, and the seconds that Retry-After asks for."""
        content = self._render(event)
        try:
            async with asyncio.timeout(self._webhook.timeout):
                async with http.stream(
                    "POST", self._webhook.url, content=content, headers=self._headers(event, content)
                ) as answer:
                    read = 0
                    async for chunk in answer.aiter_raw():
                        read += len(chunk)
                        if read > _ANSWER_LIMIT:
                            break
        except TimeoutError:
            return None, f"no answer within {self._webhook.timeout:g} s", None
        except httpx.HTTPError as error:
            return None, f"{type(error).__name__}: {error}"[:200], None
        return answer.status_code, None if answer.is_success else f"HTTP {answer.status_code}", self._retry_after(answer)

    def _headers(self, event: Event, content: bytes) -> dict[str, str]:
        now = datetime.fromtimestamp(int(self._clock().timestamp()), UTC)
        return {
            "content-type": "application/json",
            "user-agent": "mailbridge",
            "webhook-id": event.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signer.sign(event.id, now, content.decode()) for signer in self._signers),
        }

    def _retry_after(self, answer: httpx.Response) -> float | None:
        """Return the seconds of Retry-After (RFC 9110 section 10.2.3), at most a day, from a 429 or 503."""
        value = answer.headers.get("retry-after", "")
        if answer.status_code not in (429, 503) or not value:
            return None
        if value.isascii() and value.isdigit():
            return min(float(value), _LONGEST_RETRY_AFTER)
        try:
            until = email.utils.parsedate_to_datetime(value)
        except ValueError:
            return None
        until = until if until.tzinfo else until.replace(tzinfo=UTC)
        return min(max(0.0, (until - self._clock()).total_seconds()), _LONGEST_RETRY_AFTER)

    def _verdict(
        self, delivery: Delivery, status: int | None, error: str | None, retry_after: float | None, now: datetime
    ) -> tuple[DeliveryTrigger, dict[str, Any]]:
        told = {"status": status, "error": error}
        if error is None:
            return "deliver", told
        if status == 410:
            self.stopped = True
            return "reject", told
        delay = retry.webhook_delay(delivery.attempts, self._random())
        if delay is None:
            return "exhaust", told
        return "defer", {**told, "due_at": now + timedelta(seconds=max(delay, retry_after or 0.0))}
