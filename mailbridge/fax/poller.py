"""Poll the status of submitted faxes until each is final, and fail faxes that have expired.

`faxStatus.do` changes nothing at MyFax, so after any error, and after a crash at any moment, a poll is simply repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from mailbridge import log, retry
from mailbridge.config import FaxOptions
from mailbridge.errors import MyFaxError, StoreUnavailable
from mailbridge.fax.in_flight import InFlightCalls, crash_site
from mailbridge.fax.outcome import amounts, expire
from mailbridge.model import Failure, Fax, last_attempt
from mailbridge.myfax import MyFax, StatusAnswer, describe, status_outcome
from mailbridge.runtime import Runtime
from mailbridge.store.interface import Transaction

CONCURRENCY = 8
# Seconds after which expiry is looked for when nothing else wakes the loop; a fax may expire this much late.
_LONGEST_WAIT = 30.0
# Seconds for which faxes that become submitted are gathered, so that in a burst one look at the store finds many.
_TOGETHER = 0.05
# Seconds until a poll is tried again that failed in mailbridge itself.
_PAUSE = 1.0
_REDIALLED = ("busy", "no_answer")
# A queued fax whose sending a person holds back does not expire; this long it is not looked at again.
_HELD_EXTENSION = timedelta(hours=1)


class Poller:
    """Polls the submitted faxes of every account until cancelled, at most CONCURRENCY of one account at once.

    `clients` has a client for each account; `options` are the section `[fax]`.
    """

    def __init__(self, clients: Mapping[str, MyFax], options: FaxOptions, runtime: Runtime) -> None:
        self._clients, self._options = clients, options
        self._store, self._clock, self._random = runtime.store, runtime.clock, runtime.random
        self._in_flight = InFlightCalls(_log_crash)
        self._unanswered: set[str] = set()

    async def run(self) -> None:
        """Poll what is due, fail what has expired, and wait for more."""
        wakeup = self._store.subscribe("poll")
        try:
            while True:
                wakeup.clear()
                try:
                    seconds = await self._start_due()
                except StoreUnavailable as error:
                    log.store_unavailable("poller", error=str(error))
                    seconds = _PAUSE
                await self._in_flight.wait(wakeup, seconds)
                if wakeup.is_set():
                    await asyncio.sleep(_TOGETHER)
        finally:
            await self._in_flight.cancel()

    async def _start_due(self) -> float:
        """Fail what has expired, and start the polls that are due and have a free slot.

        Returns the seconds until the next one is due.
        """
        now = self._clock()
        soonest = _LONGEST_WAIT
        expired, soon = await self._store.run(partial(self._look, now=now))
        for fax in expired:
            log.fax_expired(fax.id)
        for account, faxes in soon.items():
            slots = CONCURRENCY - self._in_flight.count(account)
            for fax in (fax for fax in faxes if fax.id not in self._in_flight):
                if slots <= 0:
                    break  # the end of a poll wakes the loop
                wait = (fax.due_at - now).total_seconds()
                if wait > 0:
                    soonest = min(soonest, wait)
                    break
                self._in_flight.start(fax, self._poll(fax))
                slots -= 1
        return max(0.001, soonest)

    def _look(self, tx: Transaction, now: datetime) -> tuple[list[Fax], dict[str, list[Fax]]]:
        return self._expire_due(tx, now), self._due_soon(tx, now)

    def _due_soon(self, tx: Transaction, now: datetime) -> dict[str, list[Fax]]:
        # Faxes whose poll is in flight are still due in the store, so read as many more as there can be slots.
        soon = now + timedelta(seconds=_LONGEST_WAIT)
        return {account: tx.faxes.due("submitted", soon, account, limit=2 * CONCURRENCY) for account in self._clients}

    async def _poll(self, fax: Fax) -> None:
        try:
            answer = await self._query_status(fax)
            after = await self._store.run(partial(self._apply_status, polled=fax, answer=answer))
            _log_change(after, answer)
        except StoreUnavailable as error:
            log.store_unavailable("poller", error=str(error))
            await asyncio.sleep(_PAUSE)
        except Exception as error:
            # The fax stays due: without the pause it would be polled again at once, as fast as possible.
            _log_crash(fax.id, error)
            await asyncio.sleep(_PAUSE)

    async def _query_status(self, fax: Fax) -> StatusAnswer:
        """Return MyFax's answer, or a pending one without it. An account whose first query fails is logged as an error once."""
        try:
            if fax.fax_code is None:
                raise MyFaxError("the fax has no FAX_CODE")
            answer = await self._clients[fax.account].status(fax.fax_code)
        except MyFaxError as error:
            log.fax_polled(fax.id, error=str(error))
            if fax.account not in self._unanswered:
                self._unanswered.add(fax.account)
                log.status_unanswered(f"account {fax.account}", error=str(error), fax=fax.id)
            return StatusAnswer(0, "")
        self._unanswered.discard(fax.account)
        return answer

    def _apply_status(self, tx: Transaction, polled: Fax, answer: StatusAnswer) -> Fax:
        """Move the fax by an answer; `polled` is the fax as it was before the poll."""
        now = self._clock()
        fax = tx.faxes.get(polled.id)
        if fax.state != "submitted" or fax.fax_code != polled.fax_code:
            return fax  # a report or a person was quicker
        outcome = status_outcome(answer.status, answer.final)
        printed, changes = amounts(answer), dict[str, Any]()
        if outcome.kind == "pending":
            return self._schedule_next(tx, fax, polled, now, printed)
        if outcome.kind == "delivered":
            changes = {"attempts": last_attempt(fax, ended_at=now), "source": "poll", "polls": fax.polls + 1, **printed}
            return tx.faxes.transition(fax.id, "confirm", now, **changes)
        code = outcome.error or "unknown"
        changes = {"attempts": last_attempt(fax, ended_at=now, error_code=code), "source": "poll", **printed}
        redial_at = now + timedelta(seconds=self._options.redial.every)
        if code in _REDIALLED and _redials(fax) < self._options.redial.times and redial_at < fax.expires_at:
            return tx.faxes.transition(fax.id, "redial", now, due_at=redial_at, fax_code=None, polls=0, **changes)
        failure = Failure(code=code, message=describe(answer.status), provider_code=answer.status)
        return tx.faxes.transition(fax.id, "fail", now, failure=failure, polls=fax.polls + 1, **changes)

    def _schedule_next(self, tx: Transaction, fax: Fax, polled: Fax, now: datetime, printed: Mapping[str, Any]) -> Fax:
        if fax.expires_at <= now:
            return expire(tx, fax, now, attempts=last_attempt(fax, ended_at=now, error_code="expired"), **printed)
        wait = retry.poll_delay(fax.polls + 1, self._options.first_poll, self._options.slowest_poll, self._random())
        # A report that arrived during this poll has made the fax due at once; that poll must still happen.
        due = min(now + timedelta(seconds=wait), fax.expires_at) if fax.due_at == polled.due_at else fax.due_at
        return tx.faxes.update(fax.id, polls=fax.polls + 1, due_at=due, **printed)

    def _expire_due(self, tx: Transaction, now: datetime) -> list[Fax]:
        """Fail the queued faxes that have expired, and make the submitted ones due for a last poll."""
        failed = []
        for fax in tx.faxes.expired(now):
            if fax.state == "queued" and tx.sending.state(fax.account).held:
                # `mailbridge resume` gives it as much time as it had at first.
                tx.faxes.update(fax.id, expires_at=now + _HELD_EXTENSION)
            elif fax.state == "queued" or fax.account not in self._clients:
                failed.append(expire(tx, fax, now))
            elif fax.due_at > now:
                tx.faxes.update(fax.id, due_at=now)
        return failed


def _redials(fax: Fax) -> int:
    """Return how often this fax was dialled again. An upload that MyFax did not take is not a dial."""
    return sum(attempt.error_code in _REDIALLED for attempt in fax.attempts)


def _log_crash(fax_id: str, error: BaseException) -> None:
    log.poll_crashed(fax_id, error=crash_site(error))


def _log_change(fax: Fax, answer: StatusAnswer) -> None:
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
