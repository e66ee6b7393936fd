"""Poll the status of submitted faxes until each is final, and fail those that have expired."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from mailbridge import log, retry
from mailbridge.config import FaxOptions
from mailbridge.errors import MyFaxError, StoreUnavailable
from mailbridge.fax.in_flight import InFlightCalls, where
from mailbridge.fax.outcome import amounts, expire
from mailbridge.model import Failure, Fax, last_attempt
from mailbridge.myfax import MyFax, StatusAnswer, describe, status_outcome
from mailbridge.runtime import Runtime
from mailbridge.store.interface import Transaction

CONCURRENCY = 8
# How often expiry is looked for when nothing else wakes the loop; an expiry may come this many seconds late.
_LOOK_AGAIN = 30.0
# Seconds until a poll that failed on our side is tried again.
_PAUSE = 1.0
_DIALLED_AGAIN = ("busy", "no_answer")


class Poller:
    """Polls every account's submitted faxes until cancelled, at most CONCURRENCY of one account at once."""

    def __init__(self, clients: Mapping[str, MyFax], options: FaxOptions, runtime: Runtime) -> None:
        self._clients, self._options = clients, options
        self._store, self._clock, self._random = runtime.store, runtime.clock, runtime.random
        self._in_flight = InFlightCalls()
        self._unanswered: set[str] = set()

    async def run(self) -> None:
        """Poll what is due, expire what is over, wait for more."""
        wakeup = self._store.subscribe("poll")
        try:
            while True:
                wakeup.clear()
                try:
                    await self._expire()
                    seconds = await self._start_due()
                except StoreUnavailable as error:
                    log.store_unavailable("poller", error=str(error))
                    seconds = _PAUSE
                await self._in_flight.wake(wakeup, seconds)
        finally:
            await self._in_flight.cancel()

    async def _start_due(self) -> float:
        """Start the polls that are due and have a place; return the seconds until the next is due."""
        now = self._clock()
        soonest = _LOOK_AGAIN
        for account, coming in (await self._store.run(partial(self._coming, now=now))).items():
            places = CONCURRENCY - self._in_flight.of(account)
            for fax in (fax for fax in coming if fax.id not in self._in_flight):
                if places <= 0:
                    break  # the end of a poll wakes the loop
                wait = (fax.due_at - now).total_seconds()
                if wait > 0:
                    soonest = min(soonest, wait)
                    break
                self._in_flight.start(fax, self._poll(fax))
                places -= 1
        return max(0.001, soonest)

    def _coming(self, tx: Transaction, now: datetime) -> dict[str, list[Fax]]:
        # Those under way are still due on disk, so as many more are looked at as there can be places.
        soon = now + timedelta(seconds=_LOOK_AGAIN)
        return {account: tx.faxes.due("submitted", soon, account, limit=2 * CONCURRENCY) for account in self._clients}

    async def _poll(self, fax: Fax) -> None:
        try:
            answer = await self._ask(fax)
            after = await self._store.run(partial(self._settle, asked=fax, answer=answer))
            self._tell(after, answer)
        except StoreUnavailable as error:
            log.store_unavailable("poller", error=str(error))
            await asyncio.sleep(_PAUSE)
        except Exception as error:
            # The fax stays due, so that without the pause this would go round as fast as it can.
            log.poll_crashed(fax.id, error=where(error))
            await asyncio.sleep(_PAUSE)

    async def _ask(self, fax: Fax) -> StatusAnswer:
        try:
            if fax.fax_code is None:
                raise MyFaxError("there is no FAX_CODE to ask by")
            answer = await self._clients[fax.account].status(fax.fax_code)
        except MyFaxError as error:
            log.fax_polled(fax.id, error=str(error))
            if fax.account not in self._unanswered:
                self._unanswered.add(fax.account)
                log.status_unanswered(f"account {fax.account}", error=f"a fax's status cannot be asked: {error}", fax=fax.id)
            return StatusAnswer(0, "")
        self._unanswered.discard(fax.account)
        return answer

    def _settle(self, tx: Transaction, asked: Fax, answer: StatusAnswer) -> Fax:
        now = self._clock()
        fax = tx.faxes.get(asked.id)
        if fax.state != "submitted" or fax.fax_code != asked.fax_code:
            return fax  # a report was quicker
        outcome = status_outcome(answer.status, answer.final)
        told = amounts(answer)
        if outcome.kind == "pending":
            return self._later(tx, fax, asked, now, told)
        if outcome.kind == "delivered":
            return tx.faxes.transition(fax.id, "confirm", now, source="poll", attempts=last_attempt(fax, ended_at=now), **told)
        code = outcome.error or "unknown"
        changes: dict[str, Any] = {"attempts": last_attempt(fax, ended_at=now, error_code=code), "source": "poll", **told}
        again = now + timedelta(seconds=self._options.redial.every)
        if code in _DIALLED_AGAIN and _dials(fax) < self._options.redial.times and again < fax.expires_at:
            return tx.faxes.transition(fax.id, "redial", now, due_at=again, fax_code=None, polls=0, **changes)
        failure = Failure(code=code, message=describe(answer.status), provider_code=answer.status)
        return tx.faxes.transition(fax.id, "fail", now, failure=failure, **changes)

    def _later(self, tx: Transaction, fax: Fax, asked: Fax, now: datetime, told: Mapping[str, Any]) -> Fax:
        if fax.expires_at <= now:
            return expire(tx, fax, now, attempts=last_attempt(fax, ended_at=now, error_code="expired"), **told)
        wait = retry.poll_delay(fax.polls + 1, self._options.first_poll, self._options.slowest_poll, self._random())
        # A report that came during this poll has asked for one more at once; it keeps its word.
        due = min(now + timedelta(seconds=wait), fax.expires_at) if fax.due_at == asked.due_at else fax.due_at
        return tx.faxes.update(fax.id, polls=fax.polls + 1, due_at=due, **told)

    def _tell(self, fax: Fax, answer: StatusAnswer) -> None:
        if fax.state == "submitted":
            log.fax_polled(fax.id, status=answer.status, next=fax.due_at.isoformat())
        elif fax.state == "queued":
            log.fax_redialled(fax.id, next=fax.due_at.isoformat())
        elif fax.source == "expiry":
            log.fax_expired(fax.id)
        elif fax.source == "poll" and fax.state == "delivered":
            log.fax_delivered(fax.id, source="poll", price=fax.price)
        elif fax.source == "poll" and fax.failure is not None:
            log.fax_failed(fax.id, source="poll", code=fax.failure.code, reason=fax.failure.message)

    async def _expire(self) -> None:
        """Fail the queued faxes that have expired; of the submitted ones MyFax is asked a last time first."""

        def look(tx: Transaction) -> list[Fax]:
            now = self._clock()
            gone = []
            for fax in tx.faxes.expired(now):
                if fax.state == "queued" or fax.account not in self._clients:
                    gone.append(expire(tx, fax, now))
                elif fax.due_at > now:
                    tx.faxes.update(fax.id, due_at=now)
            return gone

        for fax in await self._store.run(look):
            log.fax_expired(fax.id)


def _dials(fax: Fax) -> int:
    """Return how often this fax was dialled again; an upload that MyFax did not take is no dial."""
    return sum(attempt.error_code in _DIALLED_AGAIN for attempt in fax.attempts)
