"""Writes to the database in one thread with one connection. Transactions that wait share one commit (group commit)."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, RootTransaction
from sqlalchemy.exc import DBAPIError

from mailbridge.accounting import charged_call
from mailbridge.errors import IllegalTransition, NotFound, StoreUnavailable, Undecided
from mailbridge.model import Delivery, new_id
from mailbridge.store import schema
from mailbridge.store.events import Describe, Route
from mailbridge.store.faults import Faults
from mailbridge.store.hand_over import HandOver
from mailbridge.store.interface import Transaction
from mailbridge.store.node import Node
from mailbridge.store.notices import NoticePlan
from mailbridge.store.on_conflict import insert_or_replace
from mailbridge.store.prepared import run_text
from mailbridge.store.sql import Overtaken
from mailbridge.store.transaction import SqlTransaction

T = TypeVar("T")
Job = tuple[Callable[[Transaction], Any], "asyncio.Future[Any]"]
# Most transactions in a commit: with more, the first would wait for the last, and few flushes would be saved.
_BATCH = 64
# Times that a transaction is run while others are in its way.
_ATTEMPTS = 8
# Bytes: more than the records of a mail take in the write-ahead log.
_PROBE = 1 << 16
# One statement: two nodes that try the database again at the same moment wait for each other, and none finds the key taken.
_WRITE = insert_or_replace(schema.meta, ["key"], ["key", "value"])


class Writer:
    """Runs transactions in its thread, and returns each result after the commit that made it durable.

    `healthy` becomes False when a commit fails, and True when something could be written again. `notify` is called in the event
    loop with the topics of a commit.
    """

    def __init__(
        self,
        engine: Engine,
        faults: Faults,
        describe: Describe,
        route: Route,
        plan: NoticePlan | None,
        notify: Callable[[set[str]], None],
        node: Node | None,
    ) -> None:
        self.hand_over = HandOver(self._give_back)
        self._engine, self._faults, self._node = engine, faults, node
        self._describe, self._route, self._plan, self._notify = describe, route, plan, notify
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self.healthy, self._committing = True, False
        self._gone: StoreUnavailable | None = None  # why the server cannot be reached
        self._undecided = False  # since a commit failed that may have become durable
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="store")
        self._thread.start()

    def submit(self, work: Callable[[Transaction], T]) -> asyncio.Future[T]:
        """Queue one transaction; the future gets its result once durable, or its error."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put((charged_call(work), future))
        return future

    def _give_back(self, delivery: Delivery) -> None:
        """Make a delivery pending again that was handed to a dispatcher which has ended."""

        def work(tx: Transaction) -> None:
            with contextlib.suppress(NotFound, IllegalTransition):
                tx.deliveries.transition(delivery.id, "lose", delivery.due_at, attempts=0)

        given = self.submit(work)
        given.add_done_callback(lambda it: it.cancelled() or it.exception())  # a store that is closed: the next start does it

    async def close(self) -> None:
        """Finish what was submitted, then end the thread."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        with self._engine.connect() as connection:
            # One object for all transactions: they are on the same connection, one at a time.
            transaction = SqlTransaction(connection, self._describe, self._route, self.hand_over, self._plan, self._node)
            # Where other nodes write too, jobs that share a commit would hold locks for each other, and deadlock.
            most = 1 if transaction.shared else _BATCH
            while batch := self._next_batch(most):
                jobs = [job for job in batch if job is not None]
                try:
                    outcomes, topics = self._commit(connection, transaction, jobs)
                except Exception as error:  # whatever it was, the thread goes on: everything waits for it
                    self.healthy = False
                    failed = Undecided(f"the database cannot be written ({type(error).__name__}: {error})")
                    outcomes, topics = [(future, failed) for _, future in jobs], set()
                is_last = batch[-1] is None
                if self._gone is not None:
                    # Each of those who wait would wait as long as this one has.
                    waiting = self._waiting()
                    is_last = is_last or None in waiting
                    outcomes += [(job[1], self._gone) for job in waiting if job is not None]
                self._loop.call_soon_threadsafe(self._set_results, outcomes, topics)
                if is_last:
                    break

    def _next_batch(self, most: int) -> list[Job | None]:
        first = self._jobs.get()
        return [first, *self._waiting(most - 1)] if first is not None else [first]

    def _waiting(self, most: int | None = None) -> list[Job | None]:
        """Take the jobs that wait, up to the last one."""
        found: list[Job | None] = []
        with contextlib.suppress(queue.Empty):
            while (most is None or len(found) < most) and (not found or found[-1] is not None):
                found.append(self._jobs.get_nowait())
        return found

    def _commit(
        self, connection: Connection, transaction: SqlTransaction, batch: list[Job]
    ) -> tuple[list[tuple[asyncio.Future[Any], Any]], set[str]]:
        self._gone = None
        if not self.healthy:
            self._probe(connection)
        if self._gone is not None:
            return [(future, self._gone) for _, future in batch], set()
        if self._undecided:
            # Data of a failed sync may still be in SQLite's write-ahead log, and would be recovered at the next start.
            return [(future, StoreUnavailable("the database cannot be synced")) for _, future in batch], set()
        more_attempts = _ATTEMPTS
        while True:
            more_attempts -= 1
            try:
                return self._run_all(connection, transaction, batch)
            except Overtaken as error:  # another node's transaction was quicker
                if not more_attempts:
                    return [(future, error) for _, future in batch], set()
            except (DBAPIError, OSError) as error:
                # The whole transaction was rolled back, so nothing in the batch is durable.
                if not (more_attempts and self._faults.is_rivalry(error)):
                    failed = self._failed(error)
                    if isinstance(failed, Undecided):
                        transaction.note_undecided()
                    return [(future, failed) for _, future in batch], set()

    def _run_all(
        self, connection: Connection, transaction: SqlTransaction, batch: list[Job]
    ) -> tuple[list[tuple[asyncio.Future[Any], Any]], set[str]]:
        topics: set[str] = set()
        transaction.after_commit.clear()
        self.hand_over.begin()
        self._committing = False
        with connection.begin() as whole:
            job = _Savepoint(connection) if len(batch) > 1 else _Whole(whole)
            outcomes = [(future, _run(transaction, work, topics, job)) for work, future in batch]
            self._committing = True
        for count in transaction.after_commit:
            count()
        return outcomes, topics

    def _failed(self, error: DBAPIError | OSError) -> StoreUnavailable:
        """Record a failed commit, and return the error for its transactions."""
        self.healthy, failed = False, self._faults.unavailable(error, committing=self._committing)
        if self._faults.is_gone(error):
            self._gone = failed
        self._undecided = self._undecided or isinstance(failed, Undecided)
        return failed

    def _probe(self, connection: Connection) -> None:
        """After a failed commit, try to write as much as a mail's records take."""
        self._committing = False
        try:
            with connection.begin():
                connection.execute(_WRITE, {"key": "written", "value": new_id("wrt").ljust(_PROBE)})
        except (DBAPIError, OSError) as error:
            self._failed(error)
        else:
            self.healthy, self._undecided = True, False

    def _set_results(self, outcomes: list[tuple[asyncio.Future[Any], Any]], topics: set[str]) -> None:
        for future, outcome in outcomes:
            if future.done():
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        self._notify(topics)


class _Savepoint:
    """Undoes one job of a commit. Not SQLAlchemy's begin_nested, which takes as long as two inserts."""

    def __init__(self, connection: Connection) -> None:
        self._run = partial(run_text, connection)

    def begin(self) -> None:
        self._run("SAVEPOINT job")

    def keep(self) -> None:
        """Do nothing: the next job's savepoint is within this one, and the commit ends all. Each statement takes 0.02 ms."""

    def undo(self) -> None:
        self._run("ROLLBACK TO SAVEPOINT job")
        self._run("RELEASE SAVEPOINT job")


class _Whole:
    """Undoes the only job of a commit, without a savepoint, which takes as long as two queries."""

    def __init__(self, whole: RootTransaction) -> None:
        self.undo = whole.rollback

    def begin(self) -> None:
        """Do nothing: the commit has begun."""

    def keep(self) -> None:
        """Do nothing: the commit will keep it."""


def _run(transaction: SqlTransaction, work: Callable[[Transaction], Any], topics: set[str], job: _Savepoint | _Whole) -> Any:
    """Run one job in the transaction of its batch; return its result, or the error that it raised and that undid its changes.

    Raises DBAPIError and Overtaken, which undo the whole transaction.
    """
    counted = len(transaction.after_commit)
    transaction.begin()
    job.begin()
    try:
        result = work(transaction)
    except (DBAPIError, Overtaken):
        raise
    except Exception as error:
        del transaction.after_commit[counted:]
        job.undo()
        return error
    job.keep()
    topics |= transaction.topics
    return result
