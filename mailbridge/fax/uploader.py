"""Upload the due faxes of one account, and never send a fax twice.

MyFax's `faxUpload.do` has no idempotency key, and nothing can look up an upload whose answer was lost. So before each step of an
upload the uploader commits how far the next step may get, and only what is provably not taken is sent again. The steps of one
upload, and what a crash (kill -9, a power cut) leaves after each:

1. *Claim.* `_claim` commits the intent: the fax is `uploading`, with a new Attempt that has its number, start and digests. No
   socket is open yet. After a crash, the next start finds `uploading` without `whole_at` and queues the fax again. So does the
   next claim if a database that went away has left open whether this one was committed.
2. *Connect and stream.* A new connection is opened, and the body leaves straight from the spool, except for its last chunk.
   Content-Length says how long the body is, so MyFax cannot take a shorter one for a fax. `VerifiedDocument` checks size and
   digest of each document meanwhile; a damaged one fails its fax here, before the request is whole. After a crash: as after 1.
3. *Mark.* `_mark_whole` commits `whole_at` while the last chunk is held back. If that commit fails, the last chunk never leaves,
   and the fax is deferred; nor does it if a report has ended the fax meanwhile, or another node has taken it over. After a crash,
   the next start finds `uploading` with `whole_at` and moves the fax to `in_doubt`.
4. *Finish.* The last chunk leaves, and from now on MyFax may have the fax. After a crash: as after 3.
5. *Answer.* `outcome` decides what the answer, or its absence, means. After a crash the answer is lost: as after 3.
6. *Store.* `_store_outcome` commits `submitted` with the FAX_CODE, `queued`, `failed` or `in_doubt`, and tries until the store
   accepts it. Nothing else happens to the fax meanwhile. After a crash, the next start goes on from there.

Between 3 and 4 the last chunk has not left, but the next start cannot know that, so the fax is in doubt. Only a person, a trusted
report, or `fax.on_doubt` (once) ends a doubt. docs/lifecycle.md has the states and triggers, docs/crash.md the same moments
beside those of the other stages, `myfax.transport` what keeps the HTTP library from repeating a request.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import partial
from pathlib import PurePosixPath
from typing import BinaryIO, cast

from mailbridge import log, metrics, retry
from mailbridge.config import Account, FaxOptions
from mailbridge.errors import MailbridgeError, StoreUnavailable, Undecided
from mailbridge.fax.in_flight import InFlightCalls, crash_site
from mailbridge.fax.outcome import UploadOutcome, accepted, apply_outcome, expire, failed
from mailbridge.fax.pause import AccountPause
from mailbridge.fax.verified_document import VerifiedDocument
from mailbridge.model import EXTERNAL, Attempt, Document, Fax, last_attempt, new_token
from mailbridge.myfax import MyFax, Upload
from mailbridge.runtime import Runtime
from mailbridge.store.interface import Transaction
from mailbridge.store.node import UNSETTLED
from mailbridge.store.sending_state import SendingState

# The system's clock can be set, and the machine can sleep: never wait longer than these seconds without reading the clock again.
_LONGEST_WAIT = 30.0
# Seconds until a fax that is due and was not claimed is looked at again.
_DUE_AGAIN = 1.0
# Seconds until a store that was unavailable is tried again.
_STORE_PAUSE = 1.0


def upload_name(document: Document, token: str) -> str:
    """Return the file name for MyFax, with the token by which a report may be matched: `invoice MB-7K3QXA2M.pdf`."""
    name = PurePosixPath(document.name)
    return f"{name.stem} {token}{name.suffix}"


class Uploader:
    """Uploads the faxes of one account, at most `account.uploads` at once, until cancelled. `options` are the section `[fax]`."""

    def __init__(self, name: str, account: Account, client: MyFax, options: FaxOptions, runtime: Runtime) -> None:
        self._name, self._account, self._options, self._client = name, account, options, client
        self._store, self._spool, self._clock, self._random = runtime.store, runtime.spool, runtime.clock, runtime.random
        # What `_upload` itself raises, it raises while it stores the outcome.
        self._in_flight = InFlightCalls(lambda fax_id, error: log.outcome_not_stored(fax_id, error=crash_site(error)))
        self._pause = AccountPause(name)
        self._draining = False
        self._unanswered_at: float | None = None  # when the last claim was of unknown outcome, by the event loop's clock
        self._last_owner = ""  # whose fax was uploaded last: users take turns

    async def run(self) -> None:
        """Upload what is due, and wait for more."""
        wakeup = self._store.subscribe(f"upload:{self._name}")
        try:
            while True:
                wakeup.clear()
                try:
                    seconds = 0.0 if await self._start_due() else await self._seconds_to_wait()
                except StoreUnavailable as error:
                    log.store_unavailable(f"account {self._name}", error=str(error))
                    seconds = _STORE_PAUSE
                if seconds:
                    await self._in_flight.wait(wakeup, seconds)
        finally:
            # Uploads cancelled here stay `uploading` on disk; `recover_interrupted` settles them at the next start.
            await self._in_flight.cancel()

    async def drain(self, timeout: float) -> None:
        """Start no more uploads, and wait at most `timeout` seconds for those in flight."""
        self._draining = True
        await self._in_flight.drain(timeout)

    async def _start_due(self) -> bool:
        """Start as many due uploads as there are free slots; return whether any fax was claimed."""
        if self._draining or len(self._in_flight) >= self._account.uploads:
            return False
        async with self._in_flight.starting:
            before = self._pause.state
            if self._unanswered_at is not None and asyncio.get_running_loop().time() - self._unanswered_at > UNSETTLED:
                self._unanswered_at = None
            try:
                claimed = await self._store.run(partial(self._claim, in_flight=len(self._in_flight)))
            except Undecided:
                self._unanswered_at = asyncio.get_running_loop().time()
                raise
            for fax in claimed:
                self._last_owner = fax.owner
                if fax.state == "uploading":
                    self._in_flight.start(fax, self._upload(fax))
                else:
                    log.fax_expired(fax.id)
        after = self._pause.state
        if after.held != before.held:
            (log.sending_held if after.held else log.sending_resumed)(f"account {self._name}")
        if before.paused_until is not None and after.paused_until is None:  # by a person, or by an answer to another node
            log.account_reopened(f"account {self._name}")
        return bool(claimed)

    def _free_slots(self) -> int:
        """Return how many uploads may start, as the store was last read."""
        return 0 if self._draining or self._pause.seconds(self._clock()) > 0 else self._most() - len(self._in_flight)

    def _most(self) -> int:
        return self._account.uploads if self._pause.state.paused_until is None else 1  # after a pause, one trial upload alone

    async def _seconds_to_wait(self) -> float:
        """Return how long to wait unless a wakeup or the end of an upload comes first."""
        if self._pause.state.held:
            return _LONGEST_WAIT
        if self._free_slots() <= 0:
            return min(_LONGEST_WAIT, self._pause.seconds(self._clock()) or _LONGEST_WAIT)
        due = await self._store.run(lambda tx: tx.faxes.next_due("queued", self._name))
        if due is None:
            return _LONGEST_WAIT
        seconds = (due - self._clock()).total_seconds()
        # A fax that is due and was not claimed waits for a call to its number to end, which wakes the loop; or it became due just
        # now, so look again soon.
        return min(_LONGEST_WAIT, seconds if seconds > 0 else _DUE_AGAIN)

    def _claim(self, tx: Transaction, in_flight: int) -> list[Fax]:
        """Step 1: move due faxes to `uploading`, each with its new Attempt, and fail those that have expired."""
        now = self._clock()
        if self._unanswered_at is not None:
            self._queue_again(tx, now)
        claimed, per_number = list[Fax](), self._options.per_number
        if self._pause.read(tx, now).held or self._pause.seconds(now) > 0:
            return []
        slots = min(self._most() - in_flight, tx.faxes.free_uploads(self._name, self._most()))
        for fax in tx.faxes.due_uploads(now, self._name, per_number, slots, self._last_owner) if slots > 0 else []:
            if fax.expires_at <= now:
                claimed.append(expire(tx, fax, now))
                continue
            again = fax.number in {one.number for one in claimed}
            if per_number and not tx.faxes.may_call(fax.number, per_number, again=again):
                continue  # other faxes of this batch call the number, or one of another node
            digests = tuple(document.sha256 for document in fax.documents)
            # Each upload has its own token, so that a late report of an earlier one cannot end this one.
            token = new_token() if fax.attempts else fax.token
            attempt = Attempt(n=len(fax.attempts) + 1, started_at=now, digests=digests, token=token)
            changes = {"attempts": (*fax.attempts, attempt), "token": token}
            # The source and report of an earlier attempt say nothing about this one.
            claimed.append(tx.faxes.transition(fax.id, "claim", now, **changes, source=None, report=None))
        return claimed

    def _queue_again(self, tx: Transaction, now: datetime) -> None:
        """Queue the faxes that a claim without an answer has claimed after all: no upload of theirs was begun.

        It is done for a while, since the database may still be committing the claim.
        """
        for fax in tx.faxes.interrupted(own=True):
            if fax.account == self._name and fax.id not in self._in_flight and not fax.attempts[-1].whole_at:
                attempts = last_attempt(fax, ended_at=now, error_code="interrupted")
                tx.faxes.transition(fax.id, "defer", now, attempts=attempts, due_at=now)

    async def _upload(self, fax: Fax) -> None:
        log.fax_uploading(fax.id, to=fax.number, account=self._name, attempt=len(fax.attempts))
        begun = time.monotonic()
        outcome = await self._send(fax)
        metrics.uploaded(self._name, outcome.trigger, time.monotonic() - begun)
        while True:
            try:
                after, state = await self._store.run(
                    partial(self._store_outcome, fax_id=fax.id, n=len(fax.attempts), outcome=outcome)
                )
                break
            except StoreUnavailable as error:
                # MyFax has answered: the outcome must be stored before anything else happens to this fax.
                log.store_unavailable(f"account {self._name}", error=str(error))
                await asyncio.sleep(_STORE_PAUSE)
        self._pause.counted(outcome, state)
        self._log_outcome(after, outcome)

    async def _send(self, fax: Fax) -> UploadOutcome:
        """Steps 2 to 5: send the request and decide its outcome."""
        whole = False

        async def before_last_chunk() -> None:
            nonlocal whole
            await self._store.run(partial(self._mark_whole, fax_id=fax.id, n=len(fax.attempts)))
            whole = True

        try:
            url = next((document.name for document in fax.documents if document.content_type == EXTERNAL), None)
            with ExitStack() as opened:
                parts = [] if url else [await self._part(document, fax.token, opened) for document in fax.documents]
                answer = await self._client.send(fax.number, parts, url=url, before_last_chunk=before_last_chunk)
        except Exception as error:
            if not isinstance(error, MailbridgeError):
                log.upload_crashed(fax.id, error=crash_site(error))
            wait = retry.upload_delay(len(fax.attempts), self._random())
            return failed(error, whole, self._clock() + timedelta(seconds=wait))
        first_poll = retry.poll_delay(0, self._options.first_poll, self._options.slowest_poll, self._random())
        return accepted(answer, self._clock() + timedelta(seconds=first_poll))

    async def _part(self, document: Document, token: str, opened: ExitStack) -> Upload:
        content = cast(BinaryIO, await self._spool.open_to_upload(document))
        file = cast(BinaryIO, opened.enter_context(VerifiedDocument(content, document)))
        return Upload(upload_name(document, token), document.content_type, lambda: file)

    def _mark_whole(self, tx: Transaction, fax_id: str, n: int) -> None:
        """Step 3: record that the request may be whole from now on, unless the fax is not in the nth upload any more."""
        tx.faxes.mark_whole(fax_id, n, self._clock())

    def _store_outcome(self, tx: Transaction, fax_id: str, n: int, outcome: UploadOutcome) -> tuple[Fax, SendingState]:
        """Step 6: move the fax by its outcome, and emit what else it means: `credit.low`, and a pause that began or ended."""
        now = self._clock()
        after = apply_outcome(tx, fax_id, n, outcome, self._options.on_doubt, now)
        credit = outcome.changes.get("credit_left")
        low = self._is_low(credit)
        if low is not None and tx.conditions.set(f"credit of {self._name} is low", on=low) and low:
            tx.events.emit("credit.low", {"account": self._name, "credit_left": credit, "limit": self._account.low_credit}, now)
        return after, self._pause.count(tx, outcome, now)

    def _is_low(self, credit: str | None) -> bool | None:
        """Return whether the credit is at or below `low_credit`, None if either is not known."""
        if self._account.low_credit is None or credit is None:
            return None
        try:
            return float(credit) <= self._account.low_credit
        except ValueError:
            return None

    def _log_outcome(self, fax: Fax, outcome: UploadOutcome) -> None:
        if outcome.alert == "upload_refused":
            log.upload_refused(f"account {self._name}", error=outcome.reason, fax=fax.id)
        elif outcome.alert == "document_damaged":
            log.document_damaged(fax.id, error=outcome.reason)
        if outcome.trigger == "accept":
            log.fax_submitted(fax.id, fax_code=outcome.changes["fax_code"])
        elif outcome.trigger == "defer" and fax.state == "queued":
            log.fax_deferred(fax.id, reason=outcome.reason, until=fax.due_at.isoformat())
        elif outcome.trigger == "lose":
            log.fax_in_doubt(fax.id, reason=outcome.reason, state=fax.state)
        elif outcome.alert != "document_damaged":  # that line has said it
            log.fax_failed(fax.id, reason=outcome.reason)
