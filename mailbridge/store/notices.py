"""Notices: deliveries by mail or to a folder, written in the transaction of the change that they are about.

A delivery is one mail to one address. A notice to a sender gathers the results of several faxes of one mail until it is claimed
for the first time; from then on it stays as it is, so that a second copy after a crash says the same under the same Message-ID.

Without a plan nothing here asks the database anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from sqlalchemy import bindparam, delete, func, insert, select, update

from mailbridge.lifecycle import FAX_FINAL, FaxState
from mailbridge.model import Delivery, Envelope, Event, Fax, QueuedMail, new_id
from mailbridge.store import rows, schema
from mailbridge.store.deliveries import Deliveries
from mailbridge.store.notice_records import DueNotice, NoticeDraft
from mailbridge.store.sql import Sql, any_of

_delivery, _fax, _envelope = schema.delivery.c, schema.fax.c, schema.envelope.c
_ADD: Final = insert(schema.delivery)
_OF_MAIL: Final = select(schema.delivery).where(_delivery.envelope_id == bindparam("envelope_id")).order_by(_delivery.id)
# Where other nodes write too, a notice that one of them is about to send does not change meanwhile.
_OF_MAIL_LOCKED: Final = _OF_MAIL.with_for_update()
_ENVELOPE: Final = select(_envelope.record).where(_envelope.id == bindparam("envelope_id"))
_STATES: Final = (
    select(_fax.state, func.count().label("n")).where(_fax.envelope_id == bindparam("envelope_id")).group_by(_fax.state)
)
_CHANGE: Final = (
    update(schema.delivery)
    .where(_delivery.id == bindparam("was_id"))
    .values({name: bindparam(name) for name in ("notice", "due_at")})
)
_FAXES: Final = select(schema.fax).where(_fax.id.in_(any_of("ids")))
_PENDING = (_delivery.endpoint == bindparam("endpoint"), _delivery.state == "pending")
_DUE_TO_SENDERS: Final = (
    select(schema.delivery)
    .where(*_PENDING, _delivery.due_at <= bindparam("now"), _delivery.envelope_id.is_not(None))
    .order_by(_delivery.due_at)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
)
_UNSENT: Final = (
    select(schema.delivery)
    .where(_delivery.address == bindparam("address"), *_PENDING)
    .order_by(_delivery.id)
    .with_for_update(skip_locked=True)
)
_LAST_HOUR: Final = select(func.count().label("n"), func.min(_delivery.settled_at).label("first")).where(
    _delivery.address == bindparam("address"),
    _delivery.settled_at > bindparam("since"),
    _delivery.state == "delivered",
    _delivery.envelope_id.is_not(None),
)
_REMOVE: Final = delete(schema.delivery).where(_delivery.id == bindparam("was_id"))
_HOUR: Final = timedelta(hours=1)
# Faxes that a summary names; what is beyond is only counted.
_MOST_SUMMED: Final = 500
_SETTLED: Final = (*FAX_FINAL, "in_doubt")


class NoticePlan(Protocol):
    """Decides who gets which notice. `follows_faxes` is whether senders get any."""

    @property
    def follows_faxes(self) -> bool: ...

    def for_mail(self, envelope: Envelope, faxes: Sequence[Fax]) -> Sequence[NoticeDraft]:
        """Return the notices about a mail that was accepted: those that will be due if its faxes take long."""

    def for_fax(self, fax: Fax, envelope: Envelope, now: datetime, *, doubt_reported: bool) -> Sequence[NoticeDraft]:
        """Return the notices about a fax that became final or in doubt.

        With `doubt_reported` its sender has a notice that the fax is in doubt.
        """

    def for_event(self, event: Event) -> Sequence[NoticeDraft]:
        """Return the notices about an event of no outbound fax."""


class Notices:
    """See `store.notices_interface.Notices`."""

    __slots__ = ("_deliveries", "_plan", "_sql")

    def __init__(self, sql: Sql, deliveries: Deliveries, plan: NoticePlan | None) -> None:
        self._sql, self._deliveries, self._plan = sql, deliveries, plan

    def mails_accepted(self, mails: Sequence[QueuedMail], events: Sequence[Event]) -> None:
        """Store the notices that mails will need if their faxes take long; `events` are `fax.queued` of each fax."""
        if self._plan is None or not self._plan.follows_faxes:
            return
        of_fax = {event.fax_id: event.id for event in events}
        for mail in mails:
            for draft in self._plan.for_mail(mail.envelope, mail.faxes):
                self._insert(draft, of_fax[mail.faxes[0].id], mail.envelope.id)

    def event_emitted(self, event: Event) -> None:
        """Store the notices about an event of no outbound fax."""
        if self._plan is not None:
            for draft in self._plan.for_event(event):
                self._insert(draft, event.id, None)

    def fax_changed(self, before: FaxState, fax: Fax, event_id: str, now: datetime) -> None:
        """Store the notices about a fax whose state was `before`, and withdraw those that no longer hold."""
        plan, was_in_doubt = self._plan, before == "in_doubt"
        if plan is None or not plan.follows_faxes or fax.envelope_id is None or before == fax.state:
            return
        if fax.state not in _SETTLED and not was_in_doubt:
            return
        self._sql.lock([f"notices of {fax.envelope_id}"])  # or two faxes that end at the same time would have one each
        stored = {row["id"]: rows.to_delivery(row) for row in self._sql.rows(_OF_MAIL_LOCKED, envelope_id=fax.envelope_id)}
        # A doubt is a delay too, and says more.
        outdated = {kind for kind, holds in (("in_doubt", was_in_doubt), ("delayed", fax.state in _SETTLED)) if holds}
        self._withdraw(stored, fax.id, outdated)
        if fax.state in _SETTLED:
            self._add(plan, stored, fax, event_id, now)

    def _add(self, plan: NoticePlan, stored: dict[str, Delivery], fax: Fax, event_id: str, now: datetime) -> None:
        envelope = self.envelope(fax.envelope_id)
        if envelope is None:
            return
        told = any(_kind(one) == "in_doubt" and _mentions(one, fax.id) for one in stored.values())
        if not (told and fax.state == "in_doubt"):
            for draft in plan.for_fax(fax, envelope, now, doubt_reported=told):
                blocks = [{**block, "event_id": event_id} for block in draft.blocks]
                same = (one for one in stored.values() if _gathers(one) and _key(one) == (draft.kind, draft.form, draft.to))
                if (found := next(same, None)) is not None:
                    notice = dict(found.notice or {})
                    stored[found.id] = self._change(found, notice | {"blocks": [*notice["blocks"], *blocks]}, found.due_at)
                else:
                    added = self._insert(draft, event_id, envelope.id)
                    stored[added.id] = added
        waiting = [one for one in stored.values() if _gathers(one) and _kind(one) != "delayed" and one.due_at > now]
        if waiting and all(state in _SETTLED for state in self.states(envelope.id)):
            for one in waiting:
                self._change(one, one.notice or {}, now)

    def _withdraw(self, stored: dict[str, Delivery], fax_id: str, kinds: set[str]) -> None:
        """Take a fax out of the notices of these kinds that no attempt has been made to send."""
        for one in [one for one in stored.values() if _kind(one) in kinds and _gathers(one) and _mentions(one, fax_id)]:
            notice = dict(one.notice or {})
            blocks = [block for block in notice["blocks"] if block["fax_id"] != fax_id]
            if blocks:
                stored[one.id] = self._change(one, notice | {"blocks": blocks}, one.due_at)
            else:
                self.remove(one)
                del stored[one.id]

    def _insert(self, draft: NoticeDraft, event_id: str, envelope_id: str | None) -> Delivery:
        blocks = [{**block, "event_id": event_id} for block in draft.blocks]
        notice = {"kind": draft.kind, "form": draft.form, "blocks": blocks}
        row = {
            "id": new_id("dlv"),
            "event_id": event_id,
            "endpoint": draft.endpoint,
            "state": "pending",
            "due_at": draft.due_at,
            "attempts": 0,
            "address": draft.to,
            "envelope_id": envelope_id,
            "notice": notice | ({"facts": rows.plain(draft.facts)} if draft.facts else {}),
        }
        self._sql.execute(_ADD, row)
        self._sql.topics.add(f"deliver:{draft.endpoint}")
        return rows.to_delivery(row)

    def add(self, draft: NoticeDraft, event_id: str) -> None:
        """Store a notice about an event."""
        self._insert(draft, event_id, None)

    def _change(self, one: Delivery, notice: Mapping[str, Any], due_at: datetime) -> Delivery:
        self._sql.execute(_CHANGE, {"was_id": one.id, "notice": notice, "due_at": due_at})
        self._sql.topics.add(f"deliver:{one.endpoint}")
        return replace(one, notice=notice, due_at=due_at)

    def remove(self, one: Delivery) -> None:
        """Delete a notice that nobody needs any more."""
        self._sql.execute(_REMOVE, {"was_id": one.id})

    def claim(self, endpoint: str, now: datetime, limit: int, per_hour: int | None = None) -> list[DueNotice]:
        if per_hour is not None:
            self._sum_up(endpoint, now, limit, per_hour)
        claimed = self._deliveries.claim(endpoint, now, limit)
        wanted = {block["fax_id"] for one, _ in claimed for block in (one.notice or {}).get("blocks", ())}
        faxes = {row["id"]: rows.to_fax(row) for row in self._sql.rows(_FAXES, ids=list(wanted))} if wanted else {}
        return [self._due(one, event, faxes) for one, event in claimed]

    def _due(self, one: Delivery, event: Event, faxes: Mapping[str, Fax]) -> DueNotice:
        mine = [block["fax_id"] for block in (one.notice or {}).get("blocks", ())]
        return DueNotice(
            delivery=one,
            event=event,
            envelope=self.envelope(one.envelope_id) if one.envelope_id else None,
            faxes={id: faxes[id] for id in mine if id in faxes},
            counts=self.states(one.envelope_id) if one.envelope_id else {},
        )

    def _sum_up(self, endpoint: str, now: datetime, limit: int, per_hour: int) -> None:
        """Move due notices to senders that got `per_hour` in the last hour into a summary for each, due when the hour is over."""
        sent: dict[str | None, int] = {}
        for row in self._sql.rows(_DUE_TO_SENDERS, endpoint=endpoint, now=now, limit=limit):
            one = rows.to_delivery(row)
            if _kind(one) == "summary" or not _gathers(one):
                continue
            hour = self._sql.rows(_LAST_HOUR, address=one.address, since=now - _HOUR)[0]
            sent.setdefault(one.address, hour["n"])
            sent[one.address] += 1
            if sent[one.address] > per_hour:
                self._add_to_summary(one, (hour["first"] or now) + _HOUR)

    def _add_to_summary(self, one: Delivery, due_at: datetime) -> None:
        notice = one.notice or {}
        blocks = [{**block, "kind": notice["kind"]} for block in notice["blocks"]]
        summaries = (rows.to_delivery(row) for row in self._sql.rows(_UNSENT, endpoint=one.endpoint, address=one.address))
        summary = next((found for found in summaries if _kind(found) == "summary" and _gathers(found)), None)
        if summary is None:
            self._change(one, {"kind": "summary", "form": "mail", "blocks": blocks, "notices": 1}, due_at)
            return
        was = summary.notice or {}
        more = {"blocks": [*was["blocks"], *blocks][:_MOST_SUMMED], "notices": was["notices"] + 1}
        self._change(summary, {**was, **more}, summary.due_at)
        self.remove(one)

    def of_mail(self, envelope_id: str) -> list[Delivery]:
        """Return the notices about the faxes of one mail."""
        return [rows.to_delivery(row) for row in self._sql.rows(_OF_MAIL, envelope_id=envelope_id)]

    def envelope(self, envelope_id: str | None) -> Envelope | None:
        """Return the envelope of a mail, None once it was deleted."""
        record = self._sql.execute(_ENVELOPE, {"envelope_id": envelope_id}).scalar()
        return None if record is None else rows.to_envelope(record)

    def states(self, envelope_id: str) -> dict[FaxState, int]:
        """Return how many faxes of a mail are in each state."""
        return {row["state"]: row["n"] for row in self._sql.rows(_STATES, envelope_id=envelope_id)}


def _kind(one: Delivery) -> str:
    return str((one.notice or {}).get("kind"))


def _key(one: Delivery) -> tuple[str, str, str | None]:
    return _kind(one), (one.notice or {})["form"], one.address


def _mentions(one: Delivery, fax_id: str) -> bool:
    return any(block["fax_id"] == fax_id for block in (one.notice or {}).get("blocks", ()))


def _gathers(one: Delivery) -> bool:
    """Whether no attempt has been made to send it, so that it may still change."""
    return one.state == "pending" and one.attempts == 0 and one.status is None and one.error is None
