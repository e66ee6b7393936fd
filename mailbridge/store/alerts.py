"""What an administrator must know: the causes that hold in the store now, and the mails about them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import bindparam, delete, insert, select

from mailbridge.model import Event, new_id
from mailbridge.store import rows, schema
from mailbridge.store.counters import counters
from mailbridge.store.notice_records import Alert, NoticeDraft
from mailbridge.store.notices import Notices
from mailbridge.store.on_conflict import insert_or_replace
from mailbridge.store.sql import Sql

_meta, _fax, _stopped = schema.meta.c, schema.fax.c, schema.stopped_webhook.c
_ALERT: Final = "alert: "
_CONDITION: Final = "condition: "
# By the names that the services give to their conditions.
_CONDITIONS: Final = (
    ("mailbox_down", re.compile(r"mailbox (.*) is down")),
    ("account_paused", re.compile(r"account (.*) is paused")),
    ("credit_low", re.compile(r"credit of (.*) is low")),
    ("relay", re.compile(r"(relay) is down")),
)
_BEGINNING: Final = select(schema.meta).where(_meta.key.startswith(bindparam("beginning")))
_STOPPED: Final = select(_stopped.endpoint, _stopped.reason)
_REFUSED: Final = (
    select(_fax.account, _fax.failure, _fax.final_at)
    .where(_fax.final_at > bindparam("since"), _fax.state == "failed")
    .order_by(_fax.final_at)
    .limit(1000)
)
_ACCEPTED: Final = (
    select(_fax.attempts)
    .where(_fax.account == bindparam("account"), _fax.state.in_(("submitted", "delivered")))
    .order_by(_fax.id.desc())
    .limit(20)
)
_SAVE: Final = insert_or_replace(schema.meta, ["key"], ["key", "value"])
# An account that refuses faxes counts as refused for so long after the last one, unless it accepts one before.
_REFUSED_FOR: Final = timedelta(hours=1)


class Alerts:
    """See `store.notices_interface.Alerts`."""

    __slots__ = ("_notices", "_sql")

    def __init__(self, sql: Sql, notices: Notices) -> None:
        self._sql, self._notices = sql, notices

    def causes(self, now: datetime) -> dict[tuple[str, str], Alert]:
        found = [*self._conditions(now), *self._refused(now)]
        for row in self._sql.rows(_STOPPED):
            found.append(Alert(cause="webhook_stopped", name=row["endpoint"], since=now, error=row["reason"]))
        for row in counters(self._sql, "delivery"):
            if row["state"] == "dead":
                found.append(Alert(cause="delivery_dead", name=row["endpoint"], since=now, count=row["n"]))
        if doubts := sum(row["n"] for row in counters(self._sql, "fax") if row["state"] == "in_doubt"):
            found.append(Alert(cause="in_doubt", since=now, count=doubts))
        return {(one.cause, one.name): one for one in found}

    def _conditions(self, now: datetime) -> list[Alert]:
        names = [row["key"].removeprefix(_CONDITION) for row in self._sql.rows(_BEGINNING, beginning=_CONDITION)]
        return [
            Alert(cause=cause, name=match[1], since=now)
            for name in names
            for cause, pattern in _CONDITIONS
            if (match := pattern.fullmatch(name))
        ]

    def _refused(self, now: datetime) -> list[Alert]:
        refused: dict[str, Alert] = {}
        for row in self._sql.rows(_REFUSED, since=now - _REFUSED_FOR):
            if (row["failure"] or {}).get("code") == "unreachable":
                count = refused[row["account"]].count + 1 if row["account"] in refused else 1
                error = row["failure"]["message"]
                refused[row["account"]] = Alert(
                    cause="account_refused", name=row["account"], since=row["final_at"], error=error, count=count
                )
        return [one for one in refused.values() if not self._accepts_since(one)]

    def _accepts_since(self, refused: Alert) -> bool:
        attempts = [row["attempts"] for row in self._sql.rows(_ACCEPTED, account=refused.name)]
        ended = [datetime.fromisoformat(of_fax[-1]["ended_at"]) for of_fax in attempts if of_fax and of_fax[-1]["ended_at"]]
        return any(moment > refused.since for moment in ended)

    def known(self) -> list[Alert]:
        found = self._sql.rows(_BEGINNING, beginning=_ALERT)
        return [Alert.from_json(row["value"]) for row in found]

    def save(self, alert: Alert) -> None:
        self._sql.execute(_SAVE, {"key": f"{_ALERT}{alert.cause} {alert.name}", "value": alert.to_json()})

    def forget(self, alert: Alert) -> None:
        self._sql.execute(delete(schema.meta).where(_meta.key == f"{_ALERT}{alert.cause} {alert.name}"))

    def mail(self, drafts: Sequence[NoticeDraft], alert: Alert, now: datetime) -> None:
        # An event that goes to no webhook: each cause has an event of its own, where integrators want one.
        data: dict[str, Any] = rows.plain(asdict(alert))
        event = Event(id=new_id("evt"), type="admin.notice", at=now, fax_id=None, seq=0, data=data)
        self._sql.execute(insert(schema.event), rows.event_row(event))
        for draft in drafts:
            self._notices.add(draft, event.id)
