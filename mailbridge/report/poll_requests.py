"""Requests to the poller to ask MyFax about a fax at once, limited in their rate."""

from __future__ import annotations

from datetime import datetime, timedelta

from mailbridge.model import Fax
from mailbridge.store.interface import Transaction

# An untrusted report makes mailbridge ask MyFax; a flood of forged ones must not make it flood MyFax.
INTERVAL = timedelta(minutes=1)


class PollRequests:
    """Makes the poller ask about a submitted fax at once, at most once in INTERVAL for each fax.

    All mailboxes share one, since several may get reports of the same fax.
    """

    def __init__(self) -> None:
        self._requested_at: dict[str, datetime] = {}

    def request(self, tx: Transaction, fax: Fax, now: datetime) -> None:
        """Make the fax due now, unless it was requested a short time ago."""
        self._requested_at = {fax_id: at for fax_id, at in self._requested_at.items() if now - at < INTERVAL}
        if fax.state == "submitted" and fax.id not in self._requested_at:
            self._requested_at[fax.id] = now
            tx.faxes.update(fax.id, due_at=now)
