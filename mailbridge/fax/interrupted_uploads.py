"""Uploads that nobody goes on with: those of an earlier run, or of a node that has ended. See `fax.uploader` for their steps."""

from __future__ import annotations

from collections.abc import Collection

from mailbridge import log
from mailbridge.fax.outcome import OnDoubt, apply_on_doubt
from mailbridge.lifecycle import FaxTrigger
from mailbridge.model import Fax, last_attempt
from mailbridge.runtime import Runtime
from mailbridge.store.interface import Transaction


async def recover_interrupted(runtime: Runtime, on_doubt: OnDoubt = "hold", accounts: Collection[str] | None = None) -> None:
    """Settle these uploads: in doubt if the last chunk may have left, otherwise queued again.

    With `accounts`, those that this run itself has begun for them, and cancelled. Raises StoreUnavailable.
    """
    now = runtime.clock()

    def unfinished(tx: Transaction) -> list[Fax]:
        found = tx.faxes.interrupted(own=accounts is not None)
        return found if accounts is None else [fax for fax in found if fax.account in accounts]

    def settle(tx: Transaction) -> list[tuple[Fax, FaxTrigger]]:
        settled: list[tuple[Fax, FaxTrigger]] = []
        while interrupted := unfinished(tx):
            for fax in interrupted:
                whole = bool(fax.attempts and fax.attempts[-1].whole_at)
                trigger: FaxTrigger = "lose" if whole else "defer"
                attempts = last_attempt(fax, ended_at=now, error_code="in_doubt" if whole else "interrupted")
                after = tx.faxes.transition(fax.id, trigger, now, attempts=attempts, due_at=now)
                settled.append((apply_on_doubt(tx, after, on_doubt, now) if whole else after, trigger))
        return settled

    for fax, trigger in await runtime.store.run(settle):
        event = log.fax_in_doubt if trigger == "lose" else log.fax_deferred
        event(fax.id, reason="mailbridge was stopped during the upload", state=fax.state)
