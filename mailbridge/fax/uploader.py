"""Upload the due faxes of one account: the intent on disk first, every outcome to its place in the lifecycle."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from functools import partial
from pathlib import PurePosixPath
from typing import BinaryIO, cast

from mailbridge import log, retry
from mailbridge.config import Account, FaxOptions
from mailbridge.errors import MailbridgeError, StoreUnavailable
from mailbridge.fax.in_flight import InFlightCalls, where
from mailbridge.fax.outcome import OnDoubt, UploadOutcome, accepted, doubted, expire, failed, settle
from mailbridge.fax.verified_document import VerifiedDocument
from mailbridge.lifecycle import FaxTrigger
from mailbridge.model import EXTERNAL, Attempt, Document, Fax, last_attempt
from mailbridge.myfax import MyFax, Upload
from mailbridge.runtime import Runtime
from mailbridge.store.interface import Transaction

# So many doubts in a row mean that something is wrong with MyFax or the way to it, and each next fax would be one more.
DOUBTS_BEFORE_PAUSE = 3
PAUSE = timedelta(minutes=5)
# The clock can be set, and the machine can sleep: nothing waits longer than this without looking at the clock again.
_LOOK_AGAIN = 30.0
# Seconds until a store that did not answer is asked again.
_STORE_PAUSE = 1.0


def sent_name(document: Document, token: str) -> str:
    """Return the file name for MyFax, with the token by which a report may be known: `invoice MB-7K3QXA2M.pdf`."""
    name = PurePosixPath(document.name)
    return f"{name.stem} {token}{name.suffix}"


async def recover_interrupted(runtime: Runtime, on_doubt: OnDoubt = "hold") -> None:
    """Settle what a former run left uploading: in doubt where the last bytes may have left, else queued again.

    Raises StoreUnavailable.
    """
    now = runtime.clock()

    def settle_left(tx: Transaction) -> list[tuple[Fax, FaxTrigger]]:
        moved: list[tuple[Fax, FaxTrigger]] = []
        while left := tx.faxes.newest("uploading", limit=1000):
            for fax in left:
                whole = bool(fax.attempts and fax.attempts[-1].whole_at)
                trigger: FaxTrigger = "lose" if whole else "defer"
                ended = last_attempt(fax, ended_at=now, error_code="in_doubt" if whole else "interrupted")
                after = tx.faxes.transition(fax.id, trigger, now, attempts=ended, due_at=now)
                moved.append((doubted(tx, after, on_doubt, now) if whole else after, trigger))
        return moved

    for fax, trigger in await runtime.store.run(settle_left):
        tell = log.fax_in_doubt if trigger == "lose" else log.fax_deferred
        tell(fax.id, reason="mailbridge was stopped during the upload", state=fax.state)


class Uploader:
    """Uploads for one account, `account.uploads` at once, until cancelled."""

    def __init__(self, name: str, account: Account, client: MyFax, options: FaxOptions, runtime: Runtime) -> None:
        self._name, self._account, self._options, self._client = name, account, options, client
        self._store, self._spool, self._clock, self._random = runtime.store, runtime.spool, runtime.clock, runtime.random
        self._in_flight = InFlightCalls()
        self._doubts = 0
        self._paused_until: datetime | None = None
        self._draining = False

    async def run(self) -> None:
        """Upload what is due, wait for more."""
        wakeup = self._store.subscribe(f"upload:{self._name}")
        try:
            while True:
                wakeup.clear()
                try:
                    seconds = 0.0 if await self._start_due() else await self._wait_seconds()
                except StoreUnavailable as error:
                    log.store_unavailable(f"account {self._name}", error=str(error))
                    seconds = _STORE_PAUSE
                if seconds:
                    await self._in_flight.wake(wakeup, seconds)
        finally:
            # What is broken off here stays `uploading` on disk, and the next start settles it by how far it got.
            await self._in_flight.cancel()

    async def drain(self, timeout: float) -> None:
        """Start no more, and wait at most `timeout` seconds for the uploads under way."""
        self._draining = True
        await self._in_flight.drain(timeout)

    def _pause_left(self) -> float:
        """Return the seconds that are left of a pause; a clock set back does not make it longer."""
        if self._paused_until is None:
            return 0.0
        now = self._clock()
        self._paused_until = min(self._paused_until, now + PAUSE)
        return max(0.0, (self._paused_until - now).total_seconds())

    def _places(self) -> int:
        if self._draining or self._pause_left() > 0:
            return 0
        at_once = self._account.uploads if self._paused_until is None else 1  # after a pause one trial upload, alone
        return at_once - len(self._in_flight)

    async def _start_due(self) -> bool:
        places = self._places()
        if places <= 0:
            return False
        claimed = await self._store.run(partial(self._claim, places=places))
        for fax in claimed:
            if fax.state == "uploading":
                self._in_flight.start(fax, self._upload(fax))
            else:
                log.fax_expired(fax.id)
        return bool(claimed)

    def _claim(self, tx: Transaction, places: int) -> list[Fax]:
        now = self._clock()
        claimed = []
        for fax in tx.faxes.due("queued", now, self._name, limit=places):
            digests = tuple(document.sha256 for document in fax.documents)
            intent = Attempt(n=len(fax.attempts) + 1, started_at=now, digests=digests)
            over = fax.expires_at <= now
            # Who told of the attempt before tells nothing of this one.
            begun = {"attempts": (*fax.attempts, intent), "source": None, "report": None}
            claimed.append(expire(tx, fax, now) if over else tx.faxes.transition(fax.id, "claim", now, **begun))
        return claimed

    async def _wait_seconds(self) -> float:
        """Return how long to wait where neither the wakeup nor an upload's end comes first."""
        if self._places() <= 0:
            return min(_LOOK_AGAIN, self._pause_left() or _LOOK_AGAIN)
        due = await self._store.run(lambda tx: tx.faxes.next_due("queued", self._name))
        if due is None:
            return _LOOK_AGAIN
        # At least a millisecond: a clock that has just reached due_at must not turn this into a spin.
        return min(_LOOK_AGAIN, max(0.001, (due - self._clock()).total_seconds()))

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
                log.store_unavailable(f"account {self._name}", error=str(error))
                await asyncio.sleep(_STORE_PAUSE)
        self._tell(after, verdict)

    async def _try(self, fax: Fax) -> UploadOutcome:
        whole = False

        async def mark() -> None:
            nonlocal whole
            await self._mark_whole(fax.id)
            whole = True

        try:
            url = next((document.name for document in fax.documents if document.content_type == EXTERNAL), None)
            parts = [] if url else self._parts(fax)
            answer = await self._client.send(fax.number, parts, url=url, before_last_chunk=mark)
        except Exception as error:
            if not isinstance(error, MailbridgeError):
                log.upload_crashed(fax.id, error=where(error))
            wait = retry.upload_delay(len(fax.attempts), self._random())
            return failed(error, whole, self._clock() + timedelta(seconds=wait))
        first = retry.poll_delay(0, self._options.first_poll, self._options.slowest_poll, self._random())
        return accepted(answer, self._clock() + timedelta(seconds=first))

    def _parts(self, fax: Fax) -> list[Upload]:
        def opened(document: Document) -> BinaryIO:
            return cast(BinaryIO, VerifiedDocument(cast(BinaryIO, self._spool.open_document(document)), document))

        return [
            Upload(sent_name(document, fax.token), document.content_type, partial(opened, document)) for document in fax.documents
        ]

    async def _mark_whole(self, fax_id: str) -> None:
        def mark(tx: Transaction) -> None:
            tx.faxes.update(fax_id, attempts=last_attempt(tx.faxes.get(fax_id), whole_at=self._clock()))

        await self._store.run(mark)

    def _settle(self, tx: Transaction, fax_id: str, verdict: UploadOutcome) -> Fax:
        now = self._clock()
        after = settle(tx, fax_id, verdict, self._options.on_doubt, now)
        credit = verdict.changes.get("credit_left")
        low = self._is_low(credit)
        if low is not None and tx.conditions.set(f"credit of {self._name} is low", on=low) and low:
            tx.events.emit("credit.low", {"account": self._name, "credit_left": credit, "limit": self._account.low_credit}, now)
        return after

    def _is_low(self, credit: str | None) -> bool | None:
        """Whether an answer tells that credit is low, None where it tells nothing or nobody asked."""
        if self._account.low_credit is None or credit is None:
            return None
        try:
            return float(credit) <= self._account.low_credit
        except ValueError:
            return None

    def _count(self, verdict: UploadOutcome) -> None:
        if verdict.trigger == "lose":
            self._doubts += 1
            if self._doubts >= DOUBTS_BEFORE_PAUSE:
                self._paused_until = self._clock() + PAUSE
                log.account_paused(self._name, doubts=self._doubts, until=self._paused_until.isoformat())
        elif verdict.answered:
            self._doubts = 0
            if self._paused_until is not None:
                self._paused_until = None
                log.account_reopened(self._name)
        elif verdict.trigger == "defer" and self._paused_until is not None:
            self._paused_until = self._clock() + PAUSE

    def _tell(self, fax: Fax, verdict: UploadOutcome) -> None:
        if verdict.alert:
            log.upload_needs_person(f"account {self._name}", error=verdict.reason, fax=fax.id)
        if verdict.trigger == "accept":
            log.fax_submitted(fax.id, fax_code=verdict.changes["fax_code"])
        elif verdict.trigger == "defer":
            log.fax_deferred(fax.id, reason=verdict.reason, until=fax.due_at.isoformat())
        elif verdict.trigger == "lose":
            log.fax_in_doubt(fax.id, reason=verdict.reason, state=fax.state)
        else:
            log.fax_failed(fax.id, reason=verdict.reason)
