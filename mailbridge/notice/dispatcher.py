"""Sends due notices through the relay.

Why no notice is lost: its row is written with the change that it is about. A turn claims due notices (`sending`), hands them to
the relay, and stores the results with the claim of the next ones. After a crash in between they are pending again, and are sent
again under the same Message-ID, by which mail programs know the copy.

Why a relay that is gone costs nothing: while it does not answer, one notice is claimed at a time, after ever longer pauses. The
others wait in the database. A connection is only open while there is something to send.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from datetime import datetime
from functools import partial
from typing import Protocol

from mailbridge import log, retry
from mailbridge.errors import IllegalTransition, NotFound, StoreUnavailable
from mailbridge.notice.compose import Mail
from mailbridge.notice.outcome import Finished, failed_event, finished, untried
from mailbridge.notice.relay import Relay, RelayConnection, RelayUnavailable, Result
from mailbridge.runtime import Runtime
from mailbridge.store.interface import Transaction
from mailbridge.store.notice_records import DueNotice

ENDPOINT = "notice"
# Notices in one transaction, and connections that share them.
BATCH, CONNECTIONS = 64, 4
# Seconds between attempts while the relay does not answer; seconds after the store was unavailable.
_FIRST_PAUSE, _LONGEST_PAUSE, _STORE_PAUSE = 5.0, 300.0, 1.0


class Write(Protocol):
    """Writes the mail of a notice, or returns None where there is nobody to write to.

    `eight_bit` is whether the relay takes 8BITMIME. A `short` one has no files, and not the whole mail that it is about.
    """

    def __call__(self, due: DueNotice, eight_bit: bool, *, short: bool) -> Awaitable[Mail | None]: ...


class NoticeDispatcher:
    """Sends until cancelled. `per_hour` is `notice.per_hour`."""

    name = ENDPOINT

    def __init__(self, relay: Relay, write: Write, per_hour: int, runtime: Runtime) -> None:
        self._relay, self._write, self._per_hour = relay, write, per_hour
        self._store, self._clock, self._random = runtime.store, runtime.clock, runtime.random
        self._finished: list[Finished] = []
        # Failed connections in a row.
        self._failures = 0

    async def run(self) -> None:
        """Send what is due, then wait for more."""
        more_work = self._store.subscribe(f"deliver:{ENDPOINT}")
        try:
            while True:
                more_work.clear()
                try:
                    seconds = await self._turn()
                except Exception as error:
                    if isinstance(error, StoreUnavailable):
                        log.store_unavailable(ENDPOINT, error=str(error))
                    else:
                        log.notices_crashed(ENDPOINT, error=repr(error))
                    await asyncio.sleep(_STORE_PAUSE)
                else:
                    await wait_for_work(more_work, seconds)
        finally:
            await self._close()

    async def _turn(self) -> float | None:
        """Store what finished, claim what is due and send it; return the seconds to wait, None if nothing is pending.

        While the relay does not answer, it waits here, so that new notices do not each try to connect.
        """
        claimed, next_due = await self._commit(1 if self._failures else BATCH)
        if claimed:
            before = self._failures
            await self._send_all(claimed)
            if self._failures > before:
                await self._commit(0)
                await asyncio.sleep(retry.backoff(self._failures, _FIRST_PAUSE, _LONGEST_PAUSE, self._random()))
            return 0.0
        return None if next_due is None else max(0.0, (next_due - self._clock()).total_seconds())

    async def _commit(self, limit: int) -> tuple[list[DueNotice], datetime | None]:
        """Run the transaction of a turn. Even if cancelled, wait for it: nothing may be stored twice."""
        done = list(self._finished)
        commit = asyncio.ensure_future(self._store.run(partial(self._settle_and_claim, done, limit, self._clock())))
        try:
            return await asyncio.shield(commit)
        finally:
            if not commit.done():
                await asyncio.wait([commit])
            if commit.exception() is None:
                del self._finished[: len(done)]
                for one in done:
                    log_finished(one)

    def _settle_and_claim(
        self, done: Sequence[Finished], limit: int, now: datetime, tx: Transaction
    ) -> tuple[list[DueNotice], datetime | None]:
        for one in done:
            settle(tx, one)
        if done:
            tx.conditions.set("relay is down", on=self._failures > 0)
        claimed = tx.notices.claim(ENDPOINT, now, limit, self._per_hour) if limit else []
        return claimed, None if claimed else tx.deliveries.next_due(ENDPOINT)

    async def _send_all(self, claimed: Sequence[DueNotice]) -> None:
        """Send notices over a few connections, each taking the next one when it is ready. Stop when the relay does not answer."""
        waiting = list(reversed(claimed))
        before = self._failures
        async with asyncio.TaskGroup() as group:
            for _ in range(min(CONNECTIONS, len(waiting))):
                group.create_task(self._send_over_one_connection(waiting, before))
        now = self._clock()
        self._finished += [untried(due, now) for due in waiting]

    async def _send_over_one_connection(self, waiting: list[DueNotice], failures: int) -> None:
        connection, sent = None, 0
        try:
            while waiting and self._failures <= failures:
                due = waiting.pop()
                try:
                    connection = connection or await self._relay.connect()
                    result = await self._send(connection, due)
                    self._relay_answered()
                except RelayUnavailable as error:
                    if sent:
                        # A relay may end a connection after some mails. Over a new one this notice is sent at once.
                        connection, sent = None, 0
                        waiting.append(due)
                        continue
                    self._relay_failed(error, failures)
                    result = Result("again", error.status, str(error))
                sent += 1
                self._finished.append(finished(due, result, self._clock(), self._random()))
        finally:
            if connection is not None:
                await connection.close()

    async def _send(self, connection: RelayConnection, due: DueNotice) -> Result | None:
        """Send a notice; where it is too large for the relay, a short one, unless that is no smaller: it had no files."""
        result, size = None, 0
        for short in (False, True):
            try:
                mail = await self._write(due, connection.offers("8BITMIME"), short=short)
            except Exception as error:  # raised, it would leave the notice `sending`
                return Result("again", None, f"it cannot be written ({type(error).__name__})")
            if mail is None:
                return None
            if short and len(mail.content) >= size:
                break
            result, size = await connection.send(mail), len(mail.content)
            if not result.is_too_large:
                break
        return result

    def _relay_failed(self, error: RelayUnavailable, before: int) -> None:
        """Count one failure for each turn."""
        if self._failures == 0:
            log.relay_down(ENDPOINT, error=str(error))
        self._failures = before + 1

    def _relay_answered(self) -> None:
        if self._failures:
            log.relay_up(ENDPOINT)
        self._failures = 0

    async def _close(self) -> None:
        """Store what has finished; what was claimed otherwise is sent again after the next start."""
        if self._finished:
            try:
                await self._commit(0)
            except StoreUnavailable as error:
                log.store_unavailable(ENDPOINT, error=str(error))


def settle(tx: Transaction, one: Finished) -> None:
    """Store the outcome of an attempt; a notice that is given up emits `notice.failed`."""
    delivery = one.due.delivery
    try:
        if one.trigger is None:
            tx.notices.remove(delivery)
            return
        tx.deliveries.transition(delivery.id, one.trigger, one.at, **one.changes)
    except (NotFound, IllegalTransition) as error:
        log.notice_not_settled(delivery.id, error=str(error))
        return
    if one.is_dead:
        tx.events.emit("notice.failed", failed_event(one), one.at, one.due.event.fax_id)


def log_finished(one: Finished) -> None:
    """Log the outcome of an attempt, by the id of its fax."""
    if one.trigger is None or "attempts" in one.changes:
        return
    emit = {"deliver": log.notice_sent, "defer": log.notice_deferred}.get(one.trigger, log.notice_dead)
    delivery = one.due.delivery
    answer = {name: value for name in ("status", "error") if (value := one.changes[name]) is not None}
    kind = (delivery.notice or {}).get("kind")
    emit(one.due.event.fax_id or delivery.id, notice=delivery.id, kind=kind, to=delivery.address, **answer)


async def wait_for_work(more_work: asyncio.Event, seconds: float | None) -> None:
    """Return when there is more work, or after `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await more_work.wait()
    except TimeoutError:
        return
