"""Notices in the store: without a relay they ask the database nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from mailbridge.config import Config
from mailbridge.model import Event, QueuedMail
from mailbridge.notice.planner import Planner
from mailbridge.store.notices import NoticePlan, Notices
from mailbridge.store.sql import Sql
from tests.factories import NOW, a_fax, an_envelope


class NoDatabase:
    """Raises at any use."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the database is asked: {name}")


def test_without_a_relay_no_statement_runs(tmp_path: Path) -> None:
    account = {"email": "a@example.co.il", "password": "x"}
    config = Config.model_validate({"account": {"office": account}, "state_dir": tmp_path})
    plans: tuple[NoticePlan | None, ...] = (None, Planner(config))
    for plan in plans:
        notices = Notices(cast(Sql, NoDatabase()), cast(Any, NoDatabase()), plan)
        envelope = an_envelope()
        fax = a_fax(envelope_id=envelope.id)
        event = Event(id="evt_1", type="fax.queued", at=NOW, fax_id=fax.id, seq=1, data={})
        notices.mails_accepted([QueuedMail(envelope=envelope, faxes=(fax,), repeat_key=None)], [event])
        notices.event_emitted(event)
        for state in ("uploading", "submitted", "delivered", "failed", "in_doubt"):
            notices.fax_changed("queued", a_fax(envelope_id=envelope.id, state=state), "evt_1", NOW)
