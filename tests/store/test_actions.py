"""What people's commands do in the store."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from mailbridge.control.delivery_actions import replay
from mailbridge.control.fax_actions import resolve
from mailbridge.store.sqlite import SqliteStore
from tests.factories import NOW, a_fax, an_envelope
from tests.store.factories import go, with_store


def test_a_delivery_named_twice_is_replayed_once(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
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

    async def scenario(store: SqliteStore) -> None:
        await store.run(lambda tx: tx.submissions.add(an_envelope(), [fax], None, NOW))
        await go(store, fax.id, "in_doubt")
        answer = await resolve(store, lambda: later, id=fax.id, as_=word, fax_code=code)  # type: ignore[arg-type]
        assert answer["state"] == state
        found = await store.run(lambda tx: tx.faxes.get(fax.id))
        assert (found.due_at, found.expires_at) == (later, later + timedelta(days=1))
        assert await store.run(lambda tx: tx.faxes.expired(later)) == []

    with_store(tmp_path, scenario)
