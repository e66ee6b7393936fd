"""The questions that are asked all day go by an index: the database's own plans, with the real statements, tell."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event

from mailbridge.store.interface import Transaction
from mailbridge.store.spool import Spool
from mailbridge.store.sqlite import SqliteStore
from tests.factories import NOW, NUMBER
from tests.store.factories import a_mail, settle_all, with_store

LATER = NOW + timedelta(days=999)

HOT: dict[str, Callable[[Transaction], Any]] = {
    "due_fax": lambda tx: tx.due_fax("queued", NOW, "office"),
    "due_fax of any account": lambda tx: tx.due_fax("submitted", NOW, limit=8),
    "next_due": lambda tx: tx.next_due("queued", "office"),
    "next_due of any account": lambda tx: tx.next_due("submitted"),
    "expired": lambda tx: tx.expired(NOW),
    "faxes in a state": lambda tx: tx.faxes("uploading", 1000),
    "count_faxes": lambda tx: tx.count_faxes(),
    "count_deliveries": lambda tx: tx.count_deliveries(),
    "by_token": lambda tx: tx.by_token(["MB-1", "MB-2"]),
    "by_fax_code": lambda tx: tx.by_fax_code(["a", "b"]),
    "by_number": lambda tx: tx.by_number([NUMBER], NOW),
    "repeated": lambda tx: tx.repeated("key", NOW),
    "count_since": lambda tx: tx.count_since("dana", NOW),
    "claim_deliveries": lambda tx: tx.claim_deliveries("crm", LATER, 2),
    "next_delivery": lambda tx: tx.next_delivery("crm"),
    "lose_deliveries": lambda tx: tx.lose_deliveries(NOW),
    "deliveries that are dead": lambda tx: tx.deliveries("dead"),
    "deliveries of an event": lambda tx: tx.deliveries(event_id="evt_1"),
    "events of a fax": lambda tx: tx.events("fax_1"),
    "retire_documents": lambda tx: tx.retire_documents(LATER, LATER, 1),
    "retire_received": lambda tx: tx.retire_received(LATER, LATER, 1),
    "erasures": lambda tx: tx.erasures(9, "a"),
    "erased": lambda tx: tx.erased(["a"], NOW),
    "delete_faxes": lambda tx: tx.delete_faxes(LATER, LATER, 1),
    "delete_events": lambda tx: tx.delete_events(LATER, LATER, 1),
    "delete_handled": lambda tx: tx.delete_handled(LATER, 1),
    "known_files": lambda tx: tx.known_files(["a", "b"]),
    "compared": lambda tx: tx.compared("office", "incoming", NOW),
    "note_compared": lambda tx: tx.note_compared("office", "incoming", NOW),
    "known_listings": lambda tx: tx.known_listings("office", "incoming", ["a", "b"]),
    "receipts": lambda tx: tx.receipts("office", "incoming", NOW, LATER),
    "due_receipts": lambda tx: tx.due_receipts("office", "incoming", LATER, 9),
    "receipt": lambda tx: tx.receipt("fax_1"),
    "drop_receipt": lambda tx: tx.drop_receipt("fax_1"),
    "delete_receipts": lambda tx: tx.delete_receipts(LATER, 9),
    "audit of a fax": lambda tx: tx.audit("fax_1"),
    "audit of a number": lambda tx: tx.audit(number=NUMBER),
}


async def plans(store: SqliteStore, work: Callable[[Transaction], Any]) -> list[str]:
    """Run `work`, and return the plan of every statement that it ran."""
    found: list[str] = []

    def explain(connection: Connection, cursor: Any, statement: str, values: Any, context: Any, many: bool) -> None:
        if statement.startswith(("SELECT", "UPDATE", "DELETE")):
            # A cursor of the driver's own: asking by the connection would come back here.
            plan = connection.connection.cursor().execute(f"EXPLAIN QUERY PLAN {statement}", values[0] if many else values)
            found.extend(row[-1] for row in plan)

    event.listen(store._engine, "before_cursor_execute", explain)
    try:
        await store.run(work)
    finally:
        event.remove(store._engine, "before_cursor_execute", explain)
    return found


async def fill(store: SqliteStore, spool: Spool) -> None:
    """One fax ready to be deleted, one whose documents are due, others on their way; deliveries in several states."""
    await a_mail(store, spool, "delivered")
    await store.run(lambda tx: tx.emit("fax.received", {"document": {"path": "received/a"}}, NOW, "fax_in"))
    await store.run(lambda tx: tx.emit("ping", {}, NOW))
    await settle_all(store, LATER)
    await store.run(lambda tx: tx.retire_documents(LATER, LATER, 9))
    await a_mail(store, spool, "queued", "uploading", "delivered", user="dana")
    await a_mail(store, spool, "delivered")
    await store.run(lambda tx: tx.claim_deliveries("crm", NOW, 3))
    dead, _ = (await store.run(lambda tx: tx.claim_deliveries("crm", NOW, 1)))[0]
    await store.run(lambda tx: tx.settle(dead.id, "reject", NOW))


@pytest.mark.parametrize("question", HOT)
def test_a_hot_question_scans_no_table(tmp_path: Path, question: str) -> None:
    async def scenario(store: SqliteStore) -> None:
        await fill(store, Spool(tmp_path / "spool"))
        found = await plans(store, HOT[question])
        assert found
        # What is in brackets is no table: an empty list of values is asked for as an empty question.
        assert not [line for line in found if line.startswith("SCAN") and not line.startswith(("SCAN CONSTANT", "SCAN ("))], found

    with_store(tmp_path, scenario)


def test_a_scan_would_be_seen(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        assert await plans(store, lambda tx: tx.faxes(None)) == ["SCAN fax USING INDEX sqlite_autoindex_fax_1"]

    with_store(tmp_path, scenario)


@pytest.mark.parametrize("question", ["due_fax", "due_fax of any account", "next_due", "next_delivery", "claim_deliveries"])
def test_the_next_work_is_found_without_sorting(tmp_path: Path, question: str) -> None:
    async def scenario(store: SqliteStore) -> None:
        assert not [line for line in await plans(store, HOT[question]) if "TEMP B-TREE" in line]

    with_store(tmp_path, scenario)


def test_the_newest_events_are_found_along_an_index(tmp_path: Path) -> None:
    """A walk that stops at the limit, with a sort within one moment only."""

    async def scenario(store: SqliteStore) -> None:
        first, *rest = await plans(store, lambda tx: tx.events(None, 10))
        assert first == "SCAN event USING INDEX event_at"
        assert [line for line in rest if "RIGHT PART" not in line and "LAST" not in line] == []

    with_store(tmp_path, scenario)
