"""Mails administrators what needs a person: one mail per cause and hour while it lasts, and one when it is over.

The causes are read from the store, so a restart neither repeats nor forgets one. A store that cannot be written cannot hold a
mail either: that one is handed to the relay at once.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Literal

from mailbridge import log
from mailbridge.errors import StoreUnavailable
from mailbridge.model import Delivery, Event, new_id
from mailbridge.notice.compose import Letterhead, mail
from mailbridge.notice.original import Original
from mailbridge.notice.relay import Relay, RelayUnavailable
from mailbridge.runtime import Runtime
from mailbridge.store.interface import Transaction
from mailbridge.store.notice_records import Alert, DueNotice, NoticeDraft

_EVERY: Final = 15.0  # seconds
_REPEAT: Final = timedelta(hours=1)


class AdminWatch:
    """Watches until cancelled. `addresses` is `notice.admin`, `unstored` the cause of a store that cannot be written.

    Where several nodes share the database, only the one that `leads` mails, and says itself that what it has mailed is over.
    """

    def __init__(
        self,
        addresses: tuple[str, ...],
        letterhead: Letterhead,
        relay: Relay,
        runtime: Runtime,
        unstored: Literal["disk", "database"] = "disk",
    ) -> None:
        self._addresses, self._letterhead, self._relay, self._cause = addresses, letterhead, relay, unstored
        self._store, self._clock = runtime.store, runtime.clock
        self.leads = True
        # Since when the store cannot be written, and when that was mailed.
        self._outage: Alert | None = None

    async def run(self) -> None:
        """Look at the causes, now and then."""
        while True:
            await self.look()
            await asyncio.sleep(_EVERY)

    async def look(self) -> None:
        """Mail what began, still lasts after an hour, or is over."""
        if not self.leads and self._outage is None:
            return
        try:
            await self._store.run(partial(self._look, now=self._clock()) if self.leads else lambda tx: None)
        except StoreUnavailable as error:
            log.store_unavailable("notice.admin", error=str(error))
            await self._mail_about_outage(str(error))
        else:
            if self._outage is not None:
                await self._hand_over(replace(self._outage, over=True))
                self._outage = None

    def _look(self, tx: Transaction, now: datetime) -> None:
        causes = tx.alerts.causes(now)
        known = {(one.cause, one.name): one for one in tx.alerts.known()}
        for key, alert in causes.items():
            before = known.get(key)
            if before is None or before.mailed_at is None or now - before.mailed_at >= _REPEAT:
                since = before.since if before is not None and not before.over else alert.since
                self._mail(tx, replace(alert, since=since, mailed_at=now), now)
            elif before.over:
                # It began again within the hour: it is mailed when the hour is over.
                tx.alerts.save(replace(alert, mailed_at=before.mailed_at, unmailed=True))
        for key, before in known.items():
            if key in causes:
                continue
            if before.over:
                if before.mailed_at is None or now - before.mailed_at >= _REPEAT:
                    tx.alerts.forget(before)
            elif before.unmailed:
                tx.alerts.save(replace(before, over=True, unmailed=False))
            else:
                self._mail(tx, replace(before, over=True), now)

    def _mail(self, tx: Transaction, alert: Alert, now: datetime) -> None:
        drafts = [NoticeDraft(kind="admin", to=address, due_at=now, facts=alert.facts()) for address in self._addresses]
        tx.alerts.mail(drafts, alert, now)
        tx.alerts.save(alert)

    async def _mail_about_outage(self, error: str) -> None:
        now = self._clock()
        alert = self._outage or Alert(cause=self._cause, since=now)
        if alert.mailed_at is None or now - alert.mailed_at >= _REPEAT:
            alert = replace(alert, mailed_at=now, error=error)
            await self._hand_over(alert)
        self._outage = alert

    async def _hand_over(self, alert: Alert) -> None:
        """Hand a mail to the relay without the store; if the relay does not take it, only the log says so."""
        now = self._clock()
        try:
            connection = await self._relay.connect()
            try:
                for address in self._addresses:
                    result = await connection.send(mail(_unstored(alert, address, now), self._letterhead, Original(), now))
                    if result.kind != "sent":
                        log.notice_dead("notice.admin", kind="admin", to=address, status=result.status, error=result.error)
            finally:
                await connection.close()
        except RelayUnavailable as error:
            log.relay_down("notice.admin", error=str(error))


class AdminLead:
    """Lets a watch lead while this runs: until cancelled."""

    def __init__(self, watch: AdminWatch) -> None:
        self._watch = watch
        watch.leads = False

    async def run(self) -> None:
        """Lead."""
        self._watch.leads = True
        try:
            await asyncio.Event().wait()
        finally:
            self._watch.leads = False


def _unstored(alert: Alert, address: str, now: datetime) -> DueNotice:
    notice = {"kind": "admin", "form": "mail", "blocks": [], "facts": {**alert.facts(), "since": alert.since.isoformat()}}
    delivery = Delivery(
        id=new_id("dlv"), event_id="", endpoint="notice", state="sending", due_at=now, address=address, notice=notice
    )
    return DueNotice(delivery=delivery, event=Event(id="", type="admin.notice", at=now, fax_id=None, seq=0, data={}))
