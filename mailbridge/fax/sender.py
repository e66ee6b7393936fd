"""Upload the due faxes of one account: the intent on disk first, every outcome to its place in the lifecycle."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

from mailbridge import log, retry
from mailbridge.config import Account, FaxOptions
from mailbridge.errors import InDoubt, MailbridgeError, MyFaxError, NeedsPerson, NotFound, NotTaken, Rejected, StoreUnavailable
from mailbridge.lifecycle import FaxTrigger
from mailbridge.model import Attempt, Document, Failure, Fax, last_attempt
from mailbridge.myfax import MyFax, Upload, UploadAnswer
from mailbridge.store.base import Store, Transaction
from mailbridge.store.spool import Spool

# So many doubts in a row mean that something is wrong with MyFax or the way to it, and each next fax would be one more.
DOUBTS_BEFORE_PAUSE = 3
PAUSE = timedelta(minutes=5)
_STORE_PAUSE = 1.0


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What an upload came to: the trigger, and the fields that change with it."""

    trigger: FaxTrigger
    changes: dict[str, Any]
    error: str | None = None


def sent_name(document: Document, token: str) -> str:
    """Return the file name for MyFax, with the token by which a report may be known: `invoice MB-7K3QXA2M.pdf`."""
    name = PurePosixPath(document.name)
    return f"{name.stem} {token}{name.suffix}"


async def recover(store: Store, clock: Callable[[], datetime]) -> None:
    """Settle what a former run left uploading: in doubt where the last bytes may have left, else queued again."""
    now = clock()

    def settle(tx: Transaction) -> list[Fax]:
        moved = []
        while left := tx.faxes("uploading", limit=1000):
            for fax in left:
                whole = bool(fax.attempts and fax.attempts[-1].whole_at)
                trigger: FaxTrigger = "lose" if whole else "defer"
                ended = last_attempt(fax, ended_at=now, error_code="in_doubt" if whole else "interrupted")
                moved.append(tx.move(fax.id, trigger, now, attempts=ended, due_at=now))
        return moved

    for fax in await store.run(settle):
        tell = log.fax_in_doubt if fax.state == "in_doubt" else log.fax_deferred
        tell(fax.id, reason="mailbridge was stopped during the upload")


class Sender:
    """Uploads for one account, `account.uploads` at once, until cancelled."""

    def __init__(
        self,
        name: str,
        account: Account,
        options: FaxOptions,
        client: MyFax,
        store: Store,
        spool: Spool,
        clock: Callable[[], datetime],
        random: Callable[[], float],
    ) -> None:
        self._name, self._account, self._options, self._client = name, account, options, client
        self._store, self._spool, self._clock, self._random = store, spool, clock, random
        self._under_way: set[asyncio.Task[None]] = set()
        self._doubts = 0
        self._paused_until: datetime | None = None
        self._draining = False
        self._credit_was_low = False

    async def run(self) -> None:
        """Upload what is due, wait for more."""
        bell = self._store.bell(f"upload:{self._name}")
        while True:
            bell.clear()
            try:
                started = await self._start_due()
                seconds = 0.0 if started else await self._wait_seconds()
            except StoreUnavailable as error:
                log.service_failed(f"account {self._name}", error=str(error))
                seconds = _STORE_PAUSE
            if seconds != 0.0:
                await self._wake(bell, seconds)

    async def drain(self, timeout: float) -> None:
        """Start no more, and wait at most `timeout` seconds for the uploads under way."""
        self._draining = True
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=timeout)

    def _places(self) -> int:
        if self._draining:
            return 0
        if self._paused_until is not None:
            if self._clock() < self._paused_until:
                return 0
            return 1 - len(self._under_way)  # one trial upload, alone
        return self._account.uploads - len(self._under_way)

    async def _start_due(self) -> bool:
        places = self._places()
        if places <= 0:
            return False
        claimed = await self._store.run(partial(self._claim, places=places))
        for fax in claimed:
            task = asyncio.create_task(self._upload(fax), name=fax.id)
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        return bool(claimed)

    def _claim(self, tx: Transaction, places: int) -> list[Fax]:
        now = self._clock()
        claimed = []
        for fax in tx.due_fax("queued", now, self._name, limit=places):
            digests = tuple(document.sha256 for document in fax.documents)
            intent = Attempt(n=len(fax.attempts) + 1, started_at=now, digests=digests)
            claimed.append(tx.move(fax.id, "claim", now, attempts=(*fax.attempts, intent)))
        return claimed

    async def _wait_seconds(self) -> float | None:
        if self._draining or (self._paused_until is None and self._places() <= 0):
            return None
        due = await self._store.run(lambda tx: tx.next_due("queued", self._name))
        if due is None:
            return None
        if self._paused_until is not None:
            due = max(due, self._paused_until)
        # At least a millisecond: a clock that has just reached due_at must not turn this into a spin.
        return max(0.001, (due - self._clock()).total_seconds())

    async def _wake(self, bell: asyncio.Event, seconds: float | None) -> None:
        ringing = asyncio.create_task(bell.wait())
        try:
            waiting: set[asyncio.Task[Any]] = {ringing, *self._under_way}
            await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ringing.cancel()

    async def _upload(self, fax: Fax) -> None:
        log.fax_uploading(fax.id, to=fax.number, account=self._name, attempt=len(fax.attempts))
        verdict = await self._try(fax)
        self._count(verdict)
        while True:
            try:
                after = await self._store.run(partial(self._settle, fax_id=fax.id, verdict=verdict))
                break
            except StoreUnavailable as error:
                # MyFax has answered: this must reach the disk before anything else is done with this fax.
                log.service_failed(f"account {self._name}", error=str(error))
                await asyncio.sleep(_STORE_PAUSE)
        self._tell(after, verdict)

    async def _try(self, fax: Fax) -> _Verdict:
        try:
            answer = await self._client.send(fax.number, self._parts(fax), before_last_chunk=partial(self._mark_whole, fax.id))
        except NotFound:
            return _Verdict("reject", {"failure": Failure(code="abandoned", message="its document is no longer in the spool")})
        except OSError as error:
            why = f"its document cannot be read from the spool ({error.strerror})"
            return _Verdict("reject", {"failure": Failure(code="abandoned", message=why)})
        except (MyFaxError, MailbridgeError) as error:
            return self._failed(fax, error)
        return self._accepted(answer)

    def _parts(self, fax: Fax) -> list[Upload]:
        def opened(document: Document) -> BinaryIO:
            return cast(BinaryIO, self._spool.open_document(document))

        return [
            Upload(sent_name(document, fax.token), document.content_type, partial(opened, document)) for document in fax.documents
        ]

    async def _mark_whole(self, fax_id: str) -> None:
        def mark(tx: Transaction) -> None:
            tx.update(fax_id, attempts=last_attempt(tx.fax(fax_id), whole_at=self._clock()))

        await self._store.run(mark)

    def _accepted(self, answer: UploadAnswer) -> _Verdict:
        first = retry.poll_delay(0, self._options.first_poll, self._options.slowest_poll, self._random())
        changes: dict[str, Any] = {
            "fax_code": answer.fax_code,
            "due_at": self._clock() + timedelta(seconds=first),
            "source": "upload",
        }
        told = {"price": answer.price, "credit_left": answer.credit_left, "pages": answer.pages}
        return _Verdict("accept", changes | {name: value for name, value in told.items() if value is not None})

    def _failed(self, fax: Fax, error: MailbridgeError) -> _Verdict:
        """Return what an error means for the fax; the one place that decides it."""
        if isinstance(error, Rejected):
            failure = Failure(code="rejected", message=error.text or str(error), provider_code=error.code)
            return _Verdict("reject", {"failure": failure, "source": "upload"}, "rejected")
        if isinstance(error, NeedsPerson):
            return _Verdict("reject", {"failure": Failure(code="unreachable", message=str(error))}, "unreachable")
        if isinstance(error, NotTaken):
            wait = retry.upload_delay(len(fax.attempts), self._random())
            return _Verdict("defer", {"due_at": self._clock() + timedelta(seconds=wait)}, str(error))
        assert isinstance(error, InDoubt), error
        return _Verdict("lose", {}, str(error))

    def _settle(self, tx: Transaction, fax_id: str, verdict: _Verdict) -> Fax:
        now = self._clock()
        fax = tx.fax(fax_id)
        code = {"reject": "rejected", "lose": "in_doubt", "defer": "not_taken"}.get(verdict.trigger)
        failure = verdict.changes.get("failure")
        ended = last_attempt(
            fax, ended_at=now, fax_code=verdict.changes.get("fax_code"), error_code=failure.code if failure else code
        )
        after = tx.move(fax_id, verdict.trigger, now, attempts=ended, **verdict.changes)
        if after.state == "in_doubt" and self._options.on_doubt == "resend":
            after = tx.move(fax_id, "resend", now, due_at=now)
        elif after.state == "in_doubt" and self._options.on_doubt == "fail":
            why = "it is not known whether MyFax took this fax; by fax.on_doubt it counts as failed"
            after = tx.move(fax_id, "abandon", now, failure=Failure(code="abandoned", message=why))
        self._watch_credit(tx, after, now)
        return after

    def _watch_credit(self, tx: Transaction, fax: Fax, now: datetime) -> None:
        limit = self._account.low_credit
        if limit is None or fax.credit_left is None:
            return
        try:
            low = float(fax.credit_left) <= limit
        except ValueError:
            return
        if low and not self._credit_was_low:
            tx.emit("credit.low", {"account": self._name, "credit_left": fax.credit_left, "limit": limit}, now)
        self._credit_was_low = low

    def _count(self, verdict: _Verdict) -> None:
        if verdict.trigger == "lose":
            self._doubts += 1
            if self._doubts >= DOUBTS_BEFORE_PAUSE:
                self._paused_until = self._clock() + PAUSE
                log.account_paused(self._name, doubts=self._doubts, until=self._paused_until.isoformat())
        elif verdict.trigger in ("accept", "reject"):
            self._doubts = 0
            if self._paused_until is not None:
                self._paused_until = None
                log.account_reopened(self._name)
        elif self._paused_until is not None:
            self._paused_until = self._clock() + PAUSE

    def _tell(self, fax: Fax, verdict: _Verdict) -> None:
        if verdict.trigger == "accept":
            log.fax_submitted(fax.id, fax_code=fax.fax_code)
        elif verdict.trigger == "defer":
            log.fax_deferred(fax.id, reason=verdict.error, until=fax.due_at.isoformat())
        elif verdict.trigger == "lose":
            log.fax_in_doubt(fax.id, reason=verdict.error, state=fax.state)
        else:
            log.fax_failed(fax.id, reason=verdict.changes["failure"].message)
