"""Frequent queries use an index, by SQLite's own plans of the real statements."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
from sqlalchemy import Connection, event

from mailbridge.store.interface import Transaction
from mailbridge.store.list_filter import FaxGroup, ListFilter
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.sql_store import SqlStore
from tests.factories import NOW, NUMBER
from tests.store.factories import a_mail, settle_all, with_store

# In parentheses is a subquery: SQLAlchemy writes an empty list of values as an empty one. `owners` are the users that have queued
# faxes, found one after the other along an index.
ALLOWED = ("SCAN CONSTANT", "SCAN (", "SCAN owners")
LATER = NOW + timedelta(days=999)

FREQUENT: dict[str, Callable[[Transaction], Any]] = {
    "due faxes": lambda tx: tx.faxes.due("queued", NOW, "office"),
    "due uploads": lambda tx: tx.faxes.due_uploads(NOW, "office", 1, 8),
    "calls to a number": lambda tx: tx.faxes.may_call(NUMBER, 1, again=True),
    "due faxes of any account": lambda tx: tx.faxes.due("submitted", NOW, limit=8),
    "next due": lambda tx: tx.faxes.next_due("queued", "office"),
    "next due of any account": lambda tx: tx.faxes.next_due("submitted"),
    "expired faxes": lambda tx: tx.faxes.expired(NOW),
    "interrupted uploads": lambda tx: tx.faxes.interrupted(),
    "faxes in a state": lambda tx: tx.faxes.newest("uploading", 1000),
    "counts of faxes": lambda tx: tx.faxes.counts(),
    "counts of deliveries": lambda tx: tx.deliveries.counts(),
    "faxes by tokens": lambda tx: tx.faxes.by_tokens(["MB-1", "MB-2"]),
    "faxes by FAX_CODEs": lambda tx: tx.faxes.by_fax_codes(["a", "b"]),
    "faxes by numbers": lambda tx: tx.faxes.by_numbers([NUMBER], NOW),
    "faxes of a repeated mail": lambda tx: tx.submissions.fax_ids(["key", "other"], NOW),
    "parts that are not faxed": lambda tx: tx.submissions.passed_over("env_1"),
    "same fax again": lambda tx: tx.submissions.same_again(["x", "y"], NOW),
    "count of a user's faxes": lambda tx: tx.submissions.count_faxes("dana", NOW),
    "claim deliveries": lambda tx: tx.deliveries.claim("crm", LATER, 2),
    "next delivery": lambda tx: tx.deliveries.next_due("crm"),
    "stopped webhook": lambda tx: tx.stopped_webhooks.get("crm"),
    "remove a stopped webhook": lambda tx: tx.stopped_webhooks.remove("crm"),
    "requeue interrupted deliveries": lambda tx: tx.deliveries.requeue_interrupted(),
    "deliveries that are dead": lambda tx: tx.deliveries.newest("dead"),
    "dead deliveries of a webhook": lambda tx: tx.deliveries.newest("dead", endpoint="crm", below="dlv_9"),
    "deliveries of a webhook": lambda tx: tx.deliveries.newest(endpoint="crm", below="dlv_9"),
    "oldest waiting delivery": lambda tx: tx.deliveries.oldest_waiting("crm"),
    "counts of an hour": lambda tx: tx.search.hour(NOW),
    "notes of received faxes": lambda tx: tx.received.notes(["fax_1", "fax_2"]),
    "deliveries of an event": lambda tx: tx.deliveries.newest(event_id="evt_1"),
    "events of a fax": lambda tx: tx.events.newest("fax_1"),
    "discard documents": lambda tx: tx.retention.discard_documents(LATER, LATER, 1),
    "discard received documents": lambda tx: tx.retention.discard_received(LATER, LATER, 1),
    "pending deletions": lambda tx: tx.retention.pending_deletions(9, "a"),
    "finish deletions": lambda tx: tx.retention.finish_deletions(["a"], NOW),
    "delete faxes": lambda tx: tx.retention.delete_faxes(LATER, LATER, 1),
    "delete events": lambda tx: tx.retention.delete_events(LATER, LATER, 1),
    "delete processed mails": lambda tx: tx.retention.delete_processed_mails(LATER, 1),
    "known files": lambda tx: tx.retention.known_files(["a", "b"]),
    "known segments": lambda tx: tx.retention.known_segments(["mail/00/a.segment"]),
    "listing progress": lambda tx: tx.received.progress("office", "incoming", NOW),
    "save listing progress": lambda tx: tx.received.save_progress("office", "incoming", NOW),
    "known listing ids": lambda tx: tx.received.known_listing_ids("office", "incoming", ["a", "b"]),
    "received between": lambda tx: tx.received.between("office", "incoming", NOW, LATER),
    "due received items": lambda tx: tx.received.due("office", "incoming", LATER, 9),
    "line of an account": lambda tx: tx.received.has_line("office", NUMBER),
    "received item": lambda tx: tx.received.get("fax_1"),
    "delete a received item": lambda tx: tx.received.delete("fax_1"),
    "delete received items": lambda tx: tx.retention.delete_received_items(LATER, 9),
    "audit of a fax": lambda tx: tx.audit.newest("fax_1"),
    "faxes of a user": lambda tx: tx.search.list_faxes("all", ListFilter(user="dana"), None, 9),
    "faxes of a user that failed": lambda tx: tx.search.list_faxes("failed", ListFilter(user="dana"), None, 9),
    "faxes to a number": lambda tx: tx.search.list_faxes("all", ListFilter(numbers=(NUMBER,)), None, 9),
    "delivered faxes to a number": lambda tx: tx.search.list_faxes("delivered", ListFilter(numbers=(NUMBER,)), None, 9),
    "faxes of a day": lambda tx: tx.search.list_faxes("all", ListFilter(since=NOW, until=LATER), None, 9),
    "console session": lambda tx: tx.console_sessions.get("x", NOW),
    "end a console session": lambda tx: tx.console_sessions.end("ses_1", "dana"),
    "credit of an account": lambda tx: tx.faxes.credit_left("office"),
    "audit of a number": lambda tx: tx.audit.newest(number=NUMBER),
}


async def plans(store: SqlStore, work: Callable[[Transaction], Any]) -> list[str]:
    """Run `work`, and return the plan of every statement that it ran."""
    found: list[str] = []

    def explain(connection: Connection, cursor: Any, statement: str, values: Any, context: Any, many: bool) -> None:
        if statement.startswith(("SELECT", "UPDATE", "DELETE", "WITH")):
            # A cursor of the driver: a query on the connection would call this function again.
            plan = connection.connection.cursor().execute(f"EXPLAIN QUERY PLAN {statement}", values[0] if many else values)
            found.extend(row[-1] for row in plan)

    event.listen(store._engine, "before_cursor_execute", explain)
    try:
        await store.run(work)
    finally:
        event.remove(store._engine, "before_cursor_execute", explain)
    return found


async def fill(store: SqlStore, spool: LocalSpool) -> None:
    """Store a fax that can be deleted, one whose documents can be, open ones, and deliveries in several states."""
    await a_mail(store, spool, "delivered")
    await store.run(lambda tx: tx.events.emit("fax.received", {"document": {"path": "received/a"}}, NOW, "fax_in"))
    await store.run(lambda tx: tx.events.emit("ping", {}, NOW))
    await settle_all(store, LATER)
    await store.run(lambda tx: tx.retention.discard_documents(LATER, LATER, 9))
    await a_mail(store, spool, "queued", "uploading", "delivered", user="dana")
    await a_mail(store, spool, "delivered")
    await store.run(lambda tx: tx.deliveries.claim("crm", NOW, 3))
    dead, _ = (await store.run(lambda tx: tx.deliveries.claim("crm", NOW, 1)))[0]
    await store.run(lambda tx: tx.deliveries.transition(dead.id, "reject", NOW))


@pytest.mark.parametrize("query", FREQUENT)
def test_a_frequent_query_scans_no_table(tmp_path: Path, query: str) -> None:
    async def scenario(store: SqlStore) -> None:
        await fill(store, LocalSpool(tmp_path / "spool"))
        found = await plans(store, FREQUENT[query])
        assert found
        assert not [line for line in found if line.startswith("SCAN") and not line.startswith(ALLOWED)], found

    with_store(tmp_path, scenario)


def test_the_end_of_a_call_finds_faxes_that_wait_for_its_number_by_the_number(tmp_path: Path) -> None:
    """Along an index by state, each result would read every queued fax."""

    async def scenario(store: SqlStore) -> None:
        await fill(store, LocalSpool(tmp_path / "spool"))
        [calling] = await store.run(lambda tx: tx.faxes.newest("uploading"))
        found = await plans(store, lambda tx: tx.faxes.transition(calling.id, "reject", NOW))
        assert [line for line in found if "fax_number" in line] == ["SEARCH fax USING INDEX fax_number (number=? AND final_at=?)"]
        assert not [line for line in found if "(state=?" in line]

    with_store(tmp_path, scenario)


def test_a_scan_is_recognised(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        assert await plans(store, lambda tx: tx.faxes.newest(None)) == ["SCAN fax USING INDEX sqlite_autoindex_fax_1"]

    with_store(tmp_path, scenario)


@pytest.mark.parametrize(
    "query",
    [
        *("due faxes", "due faxes of any account", "next due", "next delivery", "claim deliveries"),
        *("dead deliveries of a webhook", "deliveries of a webhook", "oldest waiting delivery"),
    ],
)
def test_the_next_work_is_found_without_sorting(tmp_path: Path, query: str) -> None:
    async def scenario(store: SqlStore) -> None:
        assert not [line for line in await plans(store, FREQUENT[query]) if "TEMP B-TREE" in line]

    with_store(tmp_path, scenario)


def test_the_newest_events_are_read_along_an_index(tmp_path: Path) -> None:
    """The scan stops at the limit, and sorts only events of the same time."""

    async def scenario(store: SqlStore) -> None:
        first, *rest = await plans(store, lambda tx: tx.events.newest(None, 10))
        assert first == "SCAN event USING INDEX event_at"
        assert [line for line in rest if "RIGHT PART" not in line and "LAST" not in line] == []

    with_store(tmp_path, scenario)


@pytest.mark.parametrize(
    ("query", "searched"),
    [
        ("same fax again", "INDEX fax_same (same_key=? AND created_at>?)"),
        ("due uploads", "INDEX fax_turn (account=? AND <expr>=? AND due_at<?)"),
        ("credit of an account", "INDEX fax_credit (account=? AND final_at>?)"),
        ("calls to a number", "COVERING INDEX fax_calls (number=? AND state=?)"),
    ],
)
def test_neither_many_recipients_nor_many_waiting_faxes_are_searched(tmp_path: Path, query: str, searched: str) -> None:
    """A circular goes to ten thousand numbers, and a thousand faxes may wait for one of them."""

    async def scenario(store: SqlStore) -> None:
        assert any(searched in line for line in await plans(store, FREQUENT[query]))

    with_store(tmp_path, scenario)


def _list(name: FaxGroup | Literal["received"], wanted: ListFilter, tx: Transaction) -> object:
    if name == "received":
        return tx.search.list_received(wanted, "evt_9", 9)
    return tx.search.list_faxes(name, wanted, "fax_9", 9)


LISTS = [("open", "fax_open"), ("delivered", "fax_delivered"), ("failed", "fax_not_delivered"), ("received", "event_received")]


@pytest.mark.parametrize(("name", "index"), LISTS)
def test_a_list_is_read_along_its_own_index(tmp_path: Path, name: FaxGroup | Literal["received"], index: str) -> None:
    """Otherwise a page of the few that failed would read all that did not."""

    async def scenario(store: SqlStore) -> None:
        for wanted in (ListFilter(), ListFilter(text="x")):
            found = await plans(store, partial(_list, name, wanted))
            assert [line for line in found if f"INDEX {index}" in line], found
            assert not [line for line in found if "TEMP B-TREE" in line], found

    with_store(tmp_path, scenario)
