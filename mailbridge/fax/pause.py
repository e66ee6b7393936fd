"""The pause of an account whose uploads get no answer. The store has it, so it is the same for all nodes and after a restart.

So many doubts in a row mean that MyFax or the way to it has a problem, and each further upload would add a doubt. After the pause
one upload is tried alone.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from mailbridge import log
from mailbridge.fax.outcome import UploadOutcome
from mailbridge.model import rfc3339
from mailbridge.store.interface import Transaction
from mailbridge.store.sending_state import SendingState, paused_condition

DOUBTS_BEFORE_PAUSE = 3
PAUSE = timedelta(minutes=5)
# Clocks of two nodes differ by a little.
_TOLERANCE: Final = timedelta(seconds=1)


class AccountPause:
    """What one uploader knows of the pause of its account. `state` is as it was last read or changed."""

    def __init__(self, account: str) -> None:
        self._account = account
        self.state = SendingState()
        self._may_be_reported = True  # a pause of an earlier run, before this one asked

    def read(self, tx: Transaction, now: datetime) -> SendingState:
        """Read the state. A clock that was set back does not make a pause longer."""
        state = tx.sending.state(self._account)
        if state.paused_until is not None and state.paused_until > now + PAUSE + _TOLERANCE:
            state = tx.sending.pause_until(self._account, now + PAUSE)._replace(held=state.held)
        self.state = state
        return state

    def seconds(self, now: datetime) -> float:
        """Return the seconds until the pause ends, 0 if there is none."""
        until = self.state.paused_until
        return 0.0 if until is None else max(0.0, min(PAUSE.total_seconds(), (until - now).total_seconds()))

    def count(self, tx: Transaction, outcome: UploadOutcome, now: datetime) -> SendingState:
        """Count an outcome, and emit `account.paused` when a pause begins, `account.resumed` when MyFax answers again."""
        state = self.state
        if outcome.trigger == "lose":
            state = tx.sending.add_doubt(self._account, DOUBTS_BEFORE_PAUSE, now + PAUSE)
            self._report(tx, state, now)
        elif outcome.answered:
            ended = tx.sending.answered(self._account, doubts=state.doubts > 0)
            if (ended or self._may_be_reported) and tx.conditions.set(paused_condition(self._account), on=False):
                tx.events.emit("account.resumed", {"account": self._account}, now)
            state = SendingState()
        elif outcome.trigger == "defer" and state.paused_until is not None:
            state = tx.sending.pause_until(self._account, now + PAUSE)
        return state._replace(held=self.state.held)

    def counted(self, outcome: UploadOutcome, state: SendingState) -> None:
        """Go on with the state after an outcome, once it is stored."""
        before, self.state = self.state, state
        if outcome.trigger == "lose" and state.paused_until is not None:
            until = state.paused_until.isoformat()
            log.account_paused(f"account {self._account}", doubts=state.doubts, until=until)
        elif outcome.answered:
            self._may_be_reported = False
            if before.paused_until is not None:
                log.account_reopened(f"account {self._account}")

    def _report(self, tx: Transaction, state: SendingState, now: datetime) -> None:
        if state.paused_until is not None and tx.conditions.set(paused_condition(self._account), on=True):
            reason = f"{state.doubts} uploads in a row got no answer; one is tried when the pause ends"
            data = {"account": self._account, "reason": reason, "until": rfc3339(state.paused_until)}
            tx.events.emit("account.paused", data, now)
