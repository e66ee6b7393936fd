"""What people's commands do in the store."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from mailbridge.control.delivery_actions import replay
from mailbridge.control.fax_actions import cancel, resolve, resolve_all, retry
from mailbridge.store.sql_store import SqlStore
from tests.factories import NOW, a_fax, an_envelope
from tests.store.factories import go, with_store

pytestmark = pytest.mark.usefixtures("database")


def test_a_delivery_named_twice_is_replayed_once(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        await store.run(lambda tx: tx.submissions.add(an_envelope(), [a_fax()], None, NOW))
        [(delivery, event)] = await store.run(lambda tx: tx.deliveries.claim("crm", NOW, 10))
        await store.run(lambda tx: tx.deliveries.transition(delivery.id, "exhaust", NOW))
        replayed = await replay(store, lambda: NOW, ids=[event.id, delivery.id, event.id])
        assert [(one["id"], one["state"]) for one in replayed] == [(delivery.id, "pending")]

    with_store(tmp_path, scenario)


@pytest.mark.parametrize(("word", "code", "state"), [("resend", None, "queued"), ("sent", "c-1", "submitted")])
def test_a_resolved_fax_gets_its_whole_time_again_after_it_expired_in_doubt(
    tmp_path: Path, word: str, code: str | None, state: str
) -> None:
    fax = a_fax(created_at=NOW, expires_at=NOW + timedelta(days=1))
    later = NOW + timedelta(days=3)

    async def scenario(store: SqlStore) -> None:
        await store.run(lambda tx: tx.submissions.add(an_envelope(), [fax], None, NOW))
        await go(store, fax.id, "in_doubt")
        answer = await resolve(store, lambda: later, id=fax.id, as_=word, fax_code=code)  # type: ignore[arg-type]
        assert answer["state"] == state
        found = await store.run(lambda tx: tx.faxes.get(fax.id))
        assert (found.due_at, found.expires_at) == (later, later + timedelta(days=1))
        assert await store.run(lambda tx: tx.faxes.expired(later)) == []

    with_store(tmp_path, scenario)


def test_who_does_something_is_in_the_audit(tmp_path: Path) -> None:
    by = {"user": "dana", "via": "command line"}

    async def scenario(store: SqlStore) -> None:
        queued, failed, doubt, another = (a_fax() for _ in range(4))
        await store.run(lambda tx: tx.submissions.add(an_envelope(), [queued, failed, doubt, another], None, NOW))
        for fax, state in ((failed, "failed"), (doubt, "in_doubt"), (another, "in_doubt")):
            await go(store, fax.id, state)  # type: ignore[arg-type]  # a literal
        await retry(store, lambda: NOW, id=queued.id, by=by)
        await cancel(store, lambda: NOW, id=queued.id, by=by)
        await retry(store, lambda: NOW, id=failed.id, by=by)
        await resolve(store, lambda: NOW, id=doubt.id, as_="failed", by=by)
        await resolve_all(store, lambda: NOW, as_="sent", by=by)
        lines = await store.run(lambda tx: tx.audit.newest())
        assert sorted((one.what, one.subject) for one in lines) == sorted(
            [
                ("fax.retry", queued.id),
                ("fax.cancel", queued.id),
                ("fax.retry", failed.id),
                ("fax.resolve", doubt.id),
                ("fax.resolve", another.id),
            ]
        )
        assert {(one.record["user"], one.record["via"]) for one in lines} == {("dana", "command line")}

    with_store(tmp_path, scenario)
