"""The events `mailbox.down`, once for each outage and again after a restart, and `mailbox.up`, once after each outage."""

from __future__ import annotations

from typing import Literal

from mailbridge import log
from mailbridge.errors import MailbridgeError
from mailbridge.runtime import Runtime
from mailbridge.store.interface import Transaction


class MailboxStatus:
    """Logs and reports whether one mailbox is up."""

    def __init__(self, mailbox: str, account: str, runtime: Runtime) -> None:
        self._mailbox, self._account, self._runtime = mailbox, account, runtime
        self._down_reported = False

    async def up(self) -> None:
        """Log it; emit `mailbox.up` if the mailbox was reported as down, be it before a restart. Raises StoreUnavailable."""
        log.mailbox_up(self._mailbox)
        await self.emit("mailbox.up", None)
        self._down_reported = False

    async def down(self, error: Exception, failures: int) -> None:
        """Log it; emit `mailbox.down` if this outage was not reported yet. `failures` counts those in a row."""
        reason = str(error) if isinstance(error, MailbridgeError) else f"{type(error).__name__}: {error}"
        log.mailbox_down(self._mailbox, error=reason, failures=failures)
        if not self._down_reported:
            try:
                await self.emit("mailbox.down", reason)
                self._down_reported = True
            except Exception as store_error:  # the store is away too; the next failure reports it
                log.store_unavailable(self._mailbox, error=str(store_error))

    async def emit(self, event: Literal["mailbox.down", "mailbox.up"], error: str | None) -> None:
        """Emit an event; `mailbox.up` only after a `mailbox.down`."""
        down, now = event == "mailbox.down", self._runtime.clock()

        def work(tx: Transaction) -> None:
            if tx.conditions.set(f"mailbox {self._mailbox} is down", on=down) or down:
                tx.events.emit(event, {"mailbox": self._mailbox, "account": self._account, "error": error}, now)

        await self._runtime.store.run(work)
