"""Notices in the store: without a relay they ask the database nothing."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from mailbridge.config import Config
from mailbridge.model import Event, QueuedMail, Recipient
from mailbridge.notice.planner import Planner
from mailbridge.store.notices import NoticePlan, Notices
from mailbridge.store.postgres import PostgresStore
from mailbridge.store.sql import Sql
from tests.factories import NOW, a_fax, an_envelope
from tests.postgres_server import PostgresServer


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


def test_a_notice_that_another_node_sends_meanwhile_loses_no_fax(
    tmp_path: Path, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One node adds the second fax of a mail to its notice, and the other one claims the notice between read and change."""
    account = {"email": "a@example.co.il", "password": "x"}
    notice = {"relay": "smtp://127.0.0.1:25"}
    config = Config.model_validate({"account": {"office": account}, "state_dir": tmp_path, "notice": notice})
    url = postgres_server.url(postgres_server.database(str(tmp_path)))
    later = NOW + timedelta(days=1)

    def node() -> PostgresStore:
        return PostgresStore(url, lambda fax: {}, lambda type_: [], Planner(config), unsafe=True)

    async def main() -> None:
        async with node() as one, node() as other:
            numbers = ("+97239876541", "+97239876542")
            envelope = an_envelope(recipients=tuple(Recipient(number=one, address=f"{one}@fax.local") for one in numbers))
            faxes = [a_fax(envelope_id=envelope.id, number=one) for one in numbers]
            await one.run(lambda tx: tx.submissions.add(envelope, faxes, None, NOW))
            loop, withdraw, claimed = asyncio.get_running_loop(), Notices._withdraw, list[set[str]]()

            async def claim() -> None:
                for due in await other.run(lambda tx: tx.notices.claim("notice", later, 10)):
                    claimed.append(set(due.faxes))

            def interrupted(self: Notices, *given: Any) -> None:
                asyncio.run_coroutine_threadsafe(claim(), loop).result()
                withdraw(self, *given)

            await one.run(lambda tx: tx.faxes.transition(faxes[0].id, "cancel", NOW))
            monkeypatch.setattr(Notices, "_withdraw", interrupted)
            await one.run(lambda tx: tx.faxes.transition(faxes[1].id, "cancel", NOW))
            await claim()
            assert set().union(*claimed) == {fax.id for fax in faxes}

    asyncio.run(main())
