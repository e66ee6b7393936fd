"""Ask how the submitted faxes fare until each is final, and let go of those whose time is over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from mailbridge import log, retry
from mailbridge.config import FaxOptions
from mailbridge.errors import IllegalMove, MyFaxError, StoreUnavailable
from mailbridge.model import Failure, Fax, last_attempt
from mailbridge.myfax import MyFax, StatusAnswer, describe, status_outcome
from mailbridge.store.base import Store, Transaction

CONCURRENCY = 8
# How often expiry is looked for when nothing else wakes the loop; an expiry may come this many seconds late.
_EXPIRY_SECONDS = 30.0
_STORE_PAUSE = 1.0


class Poller:
    """Polls every account's submitted faxes until cancelled."""

    def __init__(
        self,
        clients: Mapping[str, MyFax],
        options: FaxOptions,
        store: Store,
        clock: Callable[[], datetime],
        random: Callable[[], float],
    ) -> None:
        self._clients, self._options, self._store, self._clock, self._random = clients, options, store, clock, random

    async def run(self) -> None:
        """Poll what is due, expire what is over, wait for more."""
        bell = self._store.bell("poll")
        while True:
            bell.clear()
            try:
                await self._expire()
                seconds = await self._poll_due()
            except StoreUnavailable as error:
                log.service_failed("poller", error=str(error))
                seconds = _STORE_PAUSE
            try:
                await asyncio.wait_for(bell.wait(), seconds)
            except TimeoutError:
                continue

    async def _poll_due(self) -> float:
        """Poll all that is due; return the seconds until the next is."""
        while due := await self._store.run(lambda tx: tx.due_fax("submitted", self._clock(), limit=CONCURRENCY)):
            await asyncio.gather(*(self._poll(fax) for fax in due))
        coming = await self._store.run(lambda tx: tx.next_due("submitted"))
        if coming is None:
            return _EXPIRY_SECONDS
        return min(_EXPIRY_SECONDS, max(0.001, (coming - self._clock()).total_seconds()))

    async def _poll(self, fax: Fax) -> None:
        wait = retry.poll_delay(fax.polls + 1, self._options.first_poll, self._options.slowest_poll, self._random())
        client = self._clients.get(fax.account)
        try:
            if client is None or fax.fax_code is None:
                raise MyFaxError("there is no account or no FAX_CODE to ask by")
            answer = await client.status(fax.fax_code)
        except MyFaxError as error:
            log.fax_polled(fax.id, error=str(error))
            answer = StatusAnswer(0, "")
        after = await self._store.run(partial(self._settle, fax_id=fax.id, answer=answer, wait=wait))
        self._tell(after, answer)

    def _settle(self, tx: Transaction, fax_id: str, answer: StatusAnswer, wait: float) -> Fax:
        now = self._clock()
        fax = tx.fax(fax_id)
        if fax.state != "submitted":
            return fax  # a report was quicker
        outcome = status_outcome(answer.status, answer.final)
        told = {name: value for name in ("price", "credit_left") if (value := getattr(answer, name)) is not None}
        if outcome.kind == "pending":
            return tx.update(fax_id, polls=fax.polls + 1, due_at=now + timedelta(seconds=wait), **told)
        if outcome.kind == "delivered":
            return tx.move(fax_id, "confirm", now, source="poll", attempts=last_attempt(fax, ended_at=now), **told)
        code = outcome.error or "unknown"
        changes: dict[str, Any] = {"attempts": last_attempt(fax, ended_at=now, error_code=code), "source": "poll", **told}
        if code in ("busy", "no_answer") and len(fax.attempts) <= self._options.redial.times:
            again = now + timedelta(seconds=self._options.redial.every)
            return tx.move(fax_id, "redial", now, due_at=again, fax_code=None, polls=0, **changes)
        failure = Failure(code=code, message=describe(answer.status), provider_code=answer.status)
        return tx.move(fax_id, "fail", now, failure=failure, **changes)

    def _tell(self, fax: Fax, answer: StatusAnswer) -> None:
        if fax.state == "submitted":
            log.fax_polled(fax.id, status=answer.status, next=fax.due_at.isoformat())
        elif fax.state == "queued":
            log.fax_redialled(fax.id, next=fax.due_at.isoformat())
        elif fax.source == "poll" and fax.state == "delivered":
            log.fax_delivered(fax.id, source="poll", price=fax.price)
        elif fax.source == "poll" and fax.failure is not None:
            log.fax_failed(fax.id, source="poll", code=fax.failure.code, reason=fax.failure.message)

    async def _expire(self) -> None:
        def expire(tx: Transaction) -> list[Fax]:
            now = self._clock()
            failure = Failure(code="expired", message="it was not final within fax.give_up")
            gone = []
            for fax in tx.expired(now):
                try:
                    gone.append(tx.move(fax.id, "expire", now, failure=failure, source="expiry"))
                except IllegalMove:
                    continue
            return gone

        for fax in await self._store.run(expire):
            log.fax_expired(fax.id)
