"""Accepted mails enter the store in batches: mails that wait share one transaction, and one statement for each table.

Each client's mails are taken in turn, so that a client with many waits behind nobody but itself. A batch is bounded by its faxes:
a mail that comes meanwhile waits for one batch at most, and mails with few faxes never share one with mails that have many.
After a batch of those with many, the next such batch waits for twice the time it took: the store is free most of the time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from mailbridge.errors import Refused, StoreUnavailable
from mailbridge.model import Fax, QueuedMail
from mailbridge.store.interface import Store, Transaction

# Long enough for a client that resends after an outage, short enough that tomorrow's same fax is a fax.
_REPEATS_WITHIN: Final = timedelta(hours=24)
# A batch of so many faxes holds the database for some 15 ms.
_MAX_FAXES: Final = 100
_FEW_FAXES: Final = 5  # of a small mail
_REST: Final = 2.0  # of the time that a batch of large mails took
# Checks in a transaction that a user may send so many more faxes. Raises Refused.
CheckDailyLimit = Callable[[Transaction, str | None, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMail:
    """The faxes that were stored for a mail, or the ids of those that were stored when the same mail came before."""

    faxes: tuple[Fax, ...] = ()
    repeated: tuple[str, ...] = ()


class MailBatches:
    """Stores mails. `same_again` is `fax.same_again` in seconds, 0 to report no repeats."""

    def __init__(self, store: Store, check_daily_limit: CheckDailyLimit, same_again: float) -> None:
        self._store, self._check_daily_limit = store, check_daily_limit
        self._same_again = timedelta(seconds=same_again)
        self._waiting: dict[str, deque[tuple[QueuedMail, asyncio.Future[StoredMail]]]] = {}
        self._small = False  # whether the last batch was one of small mails
        self._small_waits = asyncio.Event()
        self._rest_until = 0.0  # when the next batch of large mails may begin, by the loop's clock
        self._task: asyncio.Task[None] | None = None

    async def store(self, mail: QueuedMail, client: str) -> StoredMail:
        """Store a mail; return once it is durable. Raises Refused (daily limit), StoreUnavailable, Undecided."""
        future: asyncio.Future[StoredMail] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append((mail, future))
        if _is_small(mail):
            self._small_waits.set()
        if self._task is None:
            self._task = asyncio.create_task(self._store_waiting())
        return await future

    async def _store_waiting(self) -> None:
        clock = asyncio.get_running_loop().time
        try:
            while self._waiting:
                self._small_waits.clear()
                batch = self._next_batch(clock())
                if not batch:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._small_waits.wait(), self._rest_until - clock())
                    continue
                begun = clock()
                results = await self._results([mail for mail, _ in batch])
                if not self._small:
                    self._rest_until = clock() + _REST * (clock() - begun)
                for (_, future), result in zip(batch, results, strict=True):
                    if future.done():
                        continue
                    if isinstance(result, Exception):
                        future.set_exception(result)
                    else:
                        future.set_result(result)
        finally:
            self._task = None

    def _next_batch(self, now: float) -> list[tuple[QueuedMail, asyncio.Future[StoredMail]]]:
        """Take one mail of each client in turn, until there are enough faxes; batches of small and of large mails alternate.

        Empty where only large mails wait, whose time has not come.
        """
        if self._next_client(small=not self._small) is not None:
            self._small = not self._small
        if not self._small and now < self._rest_until:
            self._small = True
        batch: list[tuple[QueuedMail, asyncio.Future[StoredMail]]] = []
        faxes = 0
        while faxes < _MAX_FAXES and (client := self._next_client(small=self._small)) is not None:
            batch.append(self._take(client))
            faxes += len(batch[-1][0].faxes)
        return batch

    def _next_client(self, *, small: bool) -> str | None:
        """Return the client whose turn it is among those whose first mail has few faxes, or many."""
        return next((client for client, mails in self._waiting.items() if _is_small(mails[0][0]) == small), None)

    def _take(self, client: str) -> tuple[QueuedMail, asyncio.Future[StoredMail]]:
        """Take the client's first mail; the client goes behind the others."""
        mails = self._waiting.pop(client)
        taken = mails.popleft()
        if mails:
            self._waiting[client] = mails
        return taken

    async def _results(self, mails: Sequence[QueuedMail]) -> Sequence[StoredMail | Exception]:
        try:
            return await self._store.run(lambda tx: self._add(tx, mails))
        except StoreUnavailable as error:
            return [error] * len(mails)
        except Exception as error:
            if len(mails) == 1:
                return [error]
        # One mail of the batch cannot be stored: the others must not suffer.
        return [result for mail in mails for result in await self._results([mail])]

    def _add(self, tx: Transaction, mails: Sequence[QueuedMail]) -> list[StoredMail | Exception]:
        earlier = self._repeats(tx, mails)
        new: list[QueuedMail] = []
        users: Counter[str | None] = Counter()
        results: list[Any] = []
        for mail in mails:
            key, user, count = mail.repeat_key, mail.envelope.user, len(mail.faxes)
            if key in earlier:
                results.append(StoredMail(repeated=tuple(earlier[key])))
                continue
            try:
                self._check_daily_limit(tx, user, users[user] + count)
            except Refused as refusal:
                results.append(refusal)
                continue
            users[user] += count
            if key:
                earlier[key] = mail.fax_ids
            results.append(len(new))
            new.append(mail)
        if new:
            new = self._naming_earlier_faxes(tx, new)
            tx.submissions.add_all(new)
        return [StoredMail(faxes=new[result].faxes) if isinstance(result, int) else result for result in results]

    def _repeats(self, tx: Transaction, mails: Sequence[QueuedMail]) -> dict[str | None, list[str]]:
        keys = {mail.repeat_key for mail in mails if mail.repeat_key}
        since = min(mail.envelope.received_at for mail in mails) - _REPEATS_WITHIN
        return dict(tx.submissions.fax_ids(keys, since).items()) if keys else {}

    def _naming_earlier_faxes(self, tx: Transaction, mails: Sequence[QueuedMail]) -> list[QueuedMail]:
        """Set `repeat_of` of faxes with the same content to the same number within `fax.same_again`."""
        if not self._same_again:
            return list(mails)
        since = min(mail.envelope.received_at for mail in mails) - self._same_again
        keys = {fax.same_key for mail in mails for fax in mail.faxes if fax.same_key}
        newest = tx.submissions.same_again(keys, since) if keys else {}
        return [replace(mail, faxes=tuple(_naming_earlier(fax, newest) for fax in mail.faxes)) for mail in mails]


def _is_small(mail: QueuedMail) -> bool:
    return len(mail.faxes) <= _FEW_FAXES


def _naming_earlier(fax: Fax, newest: dict[str, str]) -> Fax:
    """Return the fax with its `repeat_of`, and note it in `newest`."""
    if fax.same_key is None:
        return fax
    earlier = newest.get(fax.same_key)
    newest[fax.same_key] = fax.id
    return fax if earlier is None else replace(fax, repeat_of=earlier)
