"""What the console's pages ask of the store: deliveries a page at a time, lag, the faxes of an hour, and notes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mailbridge.model import ReceivedItem, new_id
from mailbridge.store.hour_counts import HourCounts
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.received_notes import ReceivedNote
from mailbridge.store.sql_store import SqlStore
from tests.factories import NOW
from tests.store.factories import a_mail, settle_all, with_store

pytestmark = pytest.mark.usefixtures("database")

HOUR = timedelta(hours=1)


def test_deliveries_come_a_page_at_a_time(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        for number in range(5):
            await store.run(lambda tx, n=number: tx.events.emit("ping", {"n": n}, NOW))  # type: ignore[misc]  # a default has no type
        first = await store.run(lambda tx: tx.deliveries.newest(endpoint="crm", limit=3))
        rest = await store.run(lambda tx: tx.deliveries.newest(endpoint="crm", limit=3, below=first[-1].id))
        ids = [one.id for one in [*first, *rest]]
        assert ids == sorted(ids, reverse=True)
        assert len(ids) == 5
        assert {one.endpoint for one in [*first, *rest]} == {"crm"}
        claimed = await store.run(lambda tx: tx.deliveries.claim("crm", NOW, 2))
        for delivery, _ in claimed:
            await store.run(lambda tx, id=delivery.id: tx.deliveries.transition(id, "reject", NOW))  # type: ignore[misc]
        dead = await store.run(lambda tx: tx.deliveries.newest("dead", endpoint="crm", limit=9))
        assert {one.id for one in dead} == {one.id for one, _ in claimed}
        older = await store.run(lambda tx: tx.deliveries.newest("dead", endpoint="crm", limit=9, below=dead[0].id))
        assert older == dead[1:]
        assert await store.run(lambda tx: tx.deliveries.newest("dead", endpoint="erp")) == []

    with_store(tmp_path, scenario)


def test_the_oldest_waiting_delivery_is_also_one_that_is_being_sent(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        assert await store.run(lambda tx: tx.deliveries.oldest_waiting("crm")) is None
        first = await store.run(lambda tx: tx.events.emit("ping", {}, NOW))
        await store.run(lambda tx: tx.events.emit("ping", {}, NOW + HOUR))
        claimed = await store.run(lambda tx: tx.deliveries.claim("crm", NOW, 1))
        oldest = await store.run(lambda tx: tx.deliveries.oldest_waiting("crm"))
        assert oldest == claimed[0][0]
        assert oldest.event_id == first.id
        # One that failed is due later than a newer one, and is still the oldest.
        await store.run(lambda tx: tx.deliveries.transition(oldest.id, "defer", NOW, due_at=NOW + 9 * HOUR))
        again = await store.run(lambda tx: tx.deliveries.oldest_waiting("crm"))
        assert again is not None
        assert again.id == oldest.id
        await settle_all(store)
        assert await store.run(lambda tx: tx.deliveries.oldest_waiting("crm")) is None

    with_store(tmp_path, scenario)


def test_the_faxes_of_an_hour_are_counted(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        faxes = await a_mail(store, LocalSpool(tmp_path / "spool"), "queued", "delivered", "delivered", "failed", "cancelled")
        await store.run(lambda tx: tx.events.emit("fax.received", {}, NOW, "fax_in"))
        facts: dict[str, Any] = {"account": "office", "kind": "incoming", "caller": None, "called": None}
        for at, event_id in ((NOW, "evt_1"), (NOW - HOUR, "evt_2"), (NOW, None)):
            item = ReceivedItem(id=new_id("fax"), at=at, noted_at=at, event_id=event_id, **facts)
            await store.run(lambda tx, item=item: tx.received.put(item))  # type: ignore[misc]
        final = await store.run(lambda tx: tx.search.hour(NOW))
        assert (final.delivered, final.failed, final.received) == (2, 1, 1)
        # Ids have the real time.
        created = min(faxes, key=lambda fax: fax.id)
        start = _time_of(created.id)
        assert (await store.run(lambda tx: tx.search.hour(start))).accepted == 5
        assert (await store.run(lambda tx: tx.search.hour(start - HOUR))).accepted == 0
        assert await store.run(lambda tx: tx.search.hour(NOW + HOUR)) == HourCounts(start=NOW + HOUR)

    with_store(tmp_path, scenario)


def test_a_note_about_a_received_fax_is_replaced_and_deleted_with_it(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        await store.run(lambda tx: tx.events.emit("fax.received", {}, NOW, "fax_in"))
        first = ReceivedNote(fax_id="fax_in", changed_by="dana", changed_at=NOW, note="חוזה")
        await store.run(lambda tx: tx.received.put_note(first))
        second = ReceivedNote(fax_id="fax_in", changed_by="avi", changed_at=NOW + HOUR, handled_by="avi")
        other = ReceivedNote(fax_id="fax_other", changed_by="avi", changed_at=NOW)
        await store.run(lambda tx: tx.received.put_note(second))
        await store.run(lambda tx: tx.received.put_note(other))
        assert await store.run(lambda tx: tx.received.notes(["fax_in", "fax_none"])) == {"fax_in": second}
        await settle_all(store)
        await store.run(lambda tx: tx.retention.delete_events(NOW + 99 * HOUR, NOW, 9))
        assert await store.run(lambda tx: tx.received.notes(["fax_in", "fax_other"])) == {"fax_other": other}

    with_store(tmp_path, scenario)


def _time_of(id_: str) -> datetime:
    digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    number = 0
    for digit in id_.partition("_")[2][:10]:
        number = number * 32 + digits.index(digit)
    return datetime.fromtimestamp(number / 1000, UTC)
