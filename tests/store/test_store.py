"""What every store must do."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import LiteralString

import pytest

from mailbridge.errors import IllegalTransition, NotFound, SchemaTooNew, StoreUnavailable, Undecided
from mailbridge.lifecycle import FaxTrigger
from mailbridge.model import Attempt, Cursor, Failure, Fax
from mailbridge.store.delivery_interface import DeliveryChange
from mailbridge.store.interface import Store, Transaction
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.rows import plain
from mailbridge.store.sql_store import SqlStore
from mailbridge.store.transaction import SqlTransaction
from tests.factories import NOW, NUMBER, a_fax, an_envelope
from tests.store.factories import a_mail, ask, go, with_store
from tests.wait_helpers import PATIENCE

pytestmark = pytest.mark.usefixtures("database")


async def accepted(store: Store, *faxes: Fax, key: str | None = None) -> None:
    envelope = an_envelope()
    await store.run(lambda tx: tx.submissions.add(envelope, faxes, key, NOW))


async def moved(store: Store, fax_id: str, trigger: FaxTrigger) -> None:
    await store.run(lambda tx: tx.faxes.transition(fax_id, trigger, NOW, price="1"))


def test_an_accepted_fax_is_unchanged_after_a_restart(tmp_path: Path) -> None:
    fax = a_fax()

    async def first(store: SqlStore) -> None:
        await accepted(store, fax)
        started = (Attempt(n=1, started_at=NOW, digests=("ab",)),)
        await store.run(lambda tx: tx.faxes.transition(fax.id, "claim", NOW, attempts=started))
        failure = Failure(code="busy", message="busy", provider_code=3)
        await store.run(lambda tx: tx.faxes.transition(fax.id, "fail", NOW, failure=failure, report={"status": "Fail"}))

    async def second(store: SqlStore) -> None:
        found = await store.run(lambda tx: tx.faxes.get(fax.id))
        assert (found.state, found.seq, found.final_at) == ("failed", 2, NOW)
        assert found.documents == fax.documents
        assert found.attempts == (Attempt(n=1, started_at=NOW, digests=("ab",)),)
        assert found.failure == Failure(code="busy", message="busy", provider_code=3)
        assert (found.email, found.tags, found.report) == (fax.email, {"case": "17"}, {"status": "Fail"})

    with_store(tmp_path, first)
    with_store(tmp_path, second)


def test_a_transition_emits_its_events_with_their_deliveries(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        fax = a_fax()
        await accepted(store, fax)
        triggers: tuple[FaxTrigger, ...] = ("claim", "lose", "confirm")
        for trigger in triggers:
            await moved(store, fax.id, trigger)
        events = await store.run(lambda tx: tx.events.newest(fax.id))
        emitted = [(event.type, event.seq) for event in reversed(events)]
        assert emitted == [("fax.queued", 1), ("fax.in_doubt", 2), ("fax.resolved", 3), ("fax.delivered", 4)]
        assert events[0].data["status"] == "delivered"
        assert await store.run(lambda tx: tx.deliveries.counts()) == {("crm", "pending"): 4, ("erp", "pending"): 4}

    with_store(tmp_path, scenario)


def test_after_the_final_state_a_result_that_contradicts_is_reported_and_one_that_agrees_ignored(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        fax = a_fax()
        await accepted(store, fax)
        triggers: tuple[FaxTrigger, ...] = ("claim", "confirm", "confirm", "accept", "fail")
        for trigger in triggers:
            await moved(store, fax.id, trigger)
        found = await store.run(lambda tx: tx.faxes.get(fax.id))
        assert (found.state, found.seq) == ("delivered", 3)
        types = [event.type for event in await store.run(lambda tx: tx.events.newest(fax.id))]
        assert types == ["fax.conflict", "fax.delivered", "fax.queued"]

    with_store(tmp_path, scenario)


def test_work_that_raises_undoes_only_its_own_changes(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        kept, undone = a_fax(), a_fax()

        def break_off(tx: Transaction) -> None:
            tx.submissions.add(an_envelope(), [undone], None, NOW)
            tx.faxes.transition(undone.id, "redial", NOW)

        results = await asyncio.gather(accepted(store, kept), store.run(break_off), return_exceptions=True)
        assert isinstance(results[1], IllegalTransition)
        assert [fax.id for fax in await store.run(lambda tx: tx.faxes.newest())] == [kept.id]
        with pytest.raises(NotFound):
            await store.run(lambda tx: tx.faxes.get(undone.id))

    with_store(tmp_path, scenario)


def test_the_only_work_of_a_commit_is_undone_when_it_raises(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        undone = a_fax()

        def break_off(tx: Transaction) -> None:
            tx.submissions.add(an_envelope(), [undone], None, NOW)
            tx.faxes.transition(undone.id, "redial", NOW)

        with pytest.raises(IllegalTransition):
            await store.run(break_off)
        assert await store.run(lambda tx: (tx.faxes.newest(), tx.events.newest())) == ([], [])
        await accepted(store, undone)
        assert [fax.id for fax in await store.run(lambda tx: tx.faxes.newest())] == [undone.id]

    with_store(tmp_path, scenario)


def test_what_work_read_before_it_raised_is_unknown_to_the_next_in_its_commit(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        fax, may_go_on = a_fax(), threading.Event()
        await accepted(store, fax)

        def break_off(tx: Transaction) -> None:
            tx.faxes.update(fax.id, price="1")
            assert tx.faxes.get(fax.id).price == "1"
            tx.faxes.transition(fax.id, "redial", NOW)

        # While the first is at work, the two behind it come together.
        first = asyncio.ensure_future(store.run(lambda tx: may_go_on.wait(PATIENCE)))
        others = [asyncio.ensure_future(store.run(work)) for work in (break_off, lambda tx: tx.faxes.get(fax.id).price)]
        await asyncio.sleep(0)
        may_go_on.set()
        refused, price = await asyncio.gather(*others, return_exceptions=True)
        assert (type(refused), price, await first) == (IllegalTransition, None, True)

    with_store(tmp_path, scenario)


def test_the_store_goes_on_after_an_unexpected_error(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        def broken() -> None:
            raise ZeroDivisionError

        def break_down(tx: Transaction) -> None:
            assert isinstance(tx, SqlTransaction)
            tx.after_commit.append(broken)

        with pytest.raises(Undecided, match="ZeroDivisionError"):
            await store.run(break_down)
        fax = a_fax()
        await accepted(store, fax)
        assert (await store.run(lambda tx: tx.faxes.get(fax.id))).id == fax.id
        assert store.healthy

    with_store(tmp_path, scenario)


def test_due_faxes_are_sorted_by_due_at(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        late, early, later = (a_fax(due_at=NOW + timedelta(seconds=seconds)) for seconds in (5, 1, 60))
        await accepted(store, late, early, later)
        due = await store.run(lambda tx: tx.faxes.due("queued", NOW + timedelta(seconds=10), "office", limit=9))
        assert [fax.id for fax in due] == [early.id, late.id]
        assert await store.run(lambda tx: tx.faxes.due("queued", NOW + timedelta(days=9), "other")) == []
        assert await store.run(lambda tx: tx.faxes.next_due("queued", "office")) == early.due_at
        assert await store.run(lambda tx: tx.faxes.expired(NOW)) == []
        assert len(await store.run(lambda tx: tx.faxes.expired(NOW + timedelta(days=1)))) == 3

    with_store(tmp_path, scenario)


def test_a_repeated_mail_is_found_by_its_key_since_a_time(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        fax, envelope = a_fax(), an_envelope()
        await store.run(lambda tx: tx.submissions.add(envelope, [fax], "key", NOW))
        assert await store.run(lambda tx: tx.submissions.fax_ids(["key"], NOW - timedelta(days=1))) == {"key": [fax.id]}
        assert await store.run(lambda tx: tx.submissions.fax_ids(["key"], NOW + timedelta(seconds=1))) == {}
        assert await store.run(lambda tx: tx.submissions.fax_ids(["other"], NOW - timedelta(days=1))) == {}

    with_store(tmp_path, scenario)


def test_parts_that_are_not_faxed_are_kept_with_their_mail(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        envelope, older = an_envelope(passed_over=("logo.png", "smime.p7s")), an_envelope()
        for one in (envelope, older):
            await store.run(lambda tx, one=one: tx.submissions.add(one, [a_fax()], None, NOW))  # type: ignore[misc]  # a default has no type
        record = {name: value for name, value in plain(older).items() if name != "passed_over"}
        ask(tmp_path, "UPDATE envelope SET record = ? WHERE id = ?", json.dumps(record), older.id)
        expected = {envelope.id: ["logo.png", "smime.p7s"], older.id: [], "env_1": []}
        for id, names in expected.items():
            assert await store.run(lambda tx, id=id: tx.submissions.passed_over(id)) == names  # type: ignore[misc]  # a default has no type

    with_store(tmp_path, scenario)


def test_subscribers_are_notified_after_the_commit_that_made_work(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        fax = a_fax()
        upload, poll, deliver = (store.subscribe(topic) for topic in ("upload:office", "poll", "deliver:crm"))
        await accepted(store, fax)
        assert (upload.is_set(), poll.is_set(), deliver.is_set()) == (True, False, True)
        await store.run(lambda tx: tx.faxes.transition(fax.id, "claim", NOW))
        await store.run(lambda tx: tx.faxes.transition(fax.id, "accept", NOW, fax_code="c"))
        assert poll.is_set()
        poll.clear()
        await store.run(lambda tx: tx.faxes.update(fax.id, due_at=NOW + timedelta(seconds=3)))
        assert poll.is_set()

    with_store(tmp_path, scenario)


def test_a_delivery_is_claimed_deferred_and_requeued_after_an_interruption(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        await store.run(lambda tx: tx.events.emit("ping", {}, NOW))
        claims = await asyncio.gather(*(store.run(lambda tx: tx.deliveries.claim("crm", NOW, 5)) for _ in range(4)))
        [(delivery, event)] = [claim for batch in claims for claim in batch]
        assert (delivery.state, delivery.attempts, event.type) == ("sending", 1, "ping")
        retry_at = NOW + timedelta(minutes=5)
        await store.run(lambda tx: tx.deliveries.transition(delivery.id, "defer", NOW, due_at=retry_at, status=503, error="busy"))
        assert await store.run(lambda tx: tx.deliveries.claim("crm", NOW, 5)) == []
        assert await store.run(lambda tx: tx.deliveries.next_due("crm")) == retry_at
        [(again, _)] = await store.run(lambda tx: tx.deliveries.claim("crm", retry_at, 5))
        assert again.attempts == 2
        store.subscribe("deliver:crm").clear()
        assert await store.run(lambda tx: tx.deliveries.requeue_interrupted(["crm"])) == 1
        assert store.subscribe("deliver:crm").is_set()
        with pytest.raises(IllegalTransition):
            await store.run(lambda tx: tx.deliveries.transition(delivery.id, "deliver", NOW))

    with_store(tmp_path, scenario)


def test_deliveries_change_together_except_those_that_cannot(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        for _ in range(3):
            await store.run(lambda tx: tx.events.emit("ping", {}, NOW))
        first, second, third = [delivery.id for delivery, _ in await store.run(lambda tx: tx.deliveries.claim("crm", NOW, 5))]
        retry_at = NOW + timedelta(minutes=5)
        changes = [
            DeliveryChange(first, "deliver", NOW, {"status": 204}),
            DeliveryChange("dlv_unknown", "deliver", NOW, {}),
            DeliveryChange(second, "defer", NOW, {"due_at": retry_at, "status": 503, "error": "busy"}),
            DeliveryChange(first, "deliver", NOW, {"status": 200}),
        ]
        store.subscribe("deliver:crm").clear()
        errors = await store.run(lambda tx: tx.deliveries.transition_all(changes))
        assert {id: type(error) for id, error in errors.items()} == {"dlv_unknown": NotFound, first: IllegalTransition}
        found = await store.run(lambda tx: [tx.deliveries.get(id) for id in (first, second, third)])
        assert [(one.state, one.status, one.due_at) for one in found] == [
            ("delivered", 204, NOW),
            ("pending", 503, retry_at),
            ("sending", None, NOW),
        ]
        assert store.subscribe("deliver:crm").is_set()
        assert await store.run(lambda tx: tx.deliveries.transition_all([])) == {}

    with_store(tmp_path, scenario)


def test_cursors_and_digests_are_stored_by_mailbox(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        assert await store.run(lambda tx: tx.mailboxes.cursor("office", "INBOX")) is None
        await store.run(lambda tx: tx.mailboxes.save_cursor("office", "INBOX", Cursor(uidvalidity=1, last_uid=3)))
        await store.run(lambda tx: tx.mailboxes.save_cursor("office", "INBOX", Cursor(uidvalidity=1, last_uid=9)))
        assert await store.run(lambda tx: tx.mailboxes.cursor("office", "INBOX")) == Cursor(uidvalidity=1, last_uid=9)
        new = await store.run(lambda tx: [tx.mailboxes.mark_processed(box, "d", NOW) for box in ("a", "a", "b")])
        assert new == [True, False, True]

    with_store(tmp_path, scenario)


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    async def scenario(_: SqlStore) -> None:
        pass

    with_store(tmp_path, scenario)
    ask(tmp_path, "UPDATE meta SET value = '999' WHERE key = 'schema'")
    with pytest.raises(SchemaTooNew, match="999"):
        with_store(tmp_path, scenario)


@pytest.mark.parametrize("spoil", ["DELETE FROM meta", "UPDATE meta SET value = 'three'"])
def test_a_database_without_a_schema_number_is_reported(tmp_path: Path, spoil: LiteralString) -> None:
    async def scenario(_: SqlStore) -> None:
        pass

    with_store(tmp_path, scenario)
    ask(tmp_path, spoil)
    with pytest.raises(StoreUnavailable, match="has no schema number"):
        with_store(tmp_path, scenario)


def test_a_users_faxes_are_counted_since_a_time_also_after_a_restart(tmp_path: Path) -> None:
    spool = LocalSpool(tmp_path / "spool")

    async def first(store: SqlStore) -> None:
        await a_mail(store, spool, "queued", "queued", at=NOW, user="dana")
        await a_mail(store, spool, "queued", at=NOW - timedelta(seconds=1), user="dana")
        await a_mail(store, spool, "queued", at=NOW, user="erp")
        await a_mail(store, spool, "queued", at=NOW)

    async def second(store: SqlStore) -> None:
        assert await store.run(lambda tx: tx.submissions.count_faxes("dana", NOW)) == 2
        assert await store.run(lambda tx: tx.submissions.count_faxes("dana", NOW - timedelta(hours=1))) == 3
        assert await store.run(lambda tx: tx.submissions.count_faxes("nobody", NOW)) == 0

    with_store(tmp_path, first)
    with_store(tmp_path, second)


def test_counters_follow_every_committed_transition(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        faxes = [a_fax() for _ in range(3)]
        await accepted(store, *faxes)
        await go(store, faxes[0].id, "delivered")
        await go(store, faxes[1].id, "cancelled")

        def undone(tx: Transaction) -> None:
            tx.faxes.transition(faxes[2].id, "claim", NOW)
            raise NotFound("by purpose")

        with pytest.raises(NotFound, match="purpose"):
            await store.run(undone)
        assert await store.run(lambda tx: tx.faxes.counts()) == {"queued": 1, "delivered": 1, "cancelled": 1}
        await store.run(lambda tx: tx.deliveries.claim("crm", NOW, 2))
        counted = await store.run(lambda tx: tx.deliveries.counts())
        assert counted == {("crm", "pending"): 4, ("crm", "sending"): 2, ("erp", "pending"): 6}
        assert len(await store.run(lambda tx: tx.deliveries.newest("sending"))) == 2

    with_store(tmp_path, scenario)


def test_faxes_are_found_by_token_fax_code_and_number(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        sent, waiting, doubted, other = a_fax(), a_fax(), a_fax(), a_fax(number="+97231234567")
        await accepted(store, sent, waiting, doubted, other)
        await go(store, sent.id, "delivered", NOW)
        await go(store, doubted.id, "in_doubt", NOW)

        async def found(work: Callable[[Transaction], list[Fax]]) -> list[str]:
            return [fax.id for fax in await store.run(work)]

        assert await found(lambda tx: tx.faxes.by_tokens({sent.token, "MB-00000000"})) == [sent.id]
        assert await found(lambda tx: tx.faxes.by_fax_codes({f"code-{sent.id}".lower(), "other"})) == [sent.id]
        assert await found(lambda tx: tx.faxes.by_fax_codes({"other"})) == []
        assert set(await found(lambda tx: tx.faxes.by_numbers({NUMBER}, NOW))) == {sent.id, doubted.id}
        assert await found(lambda tx: tx.faxes.by_numbers({NUMBER}, NOW + timedelta(seconds=1))) == [doubted.id]
        assert await found(lambda tx: tx.faxes.by_numbers({"+97231234567"}, NOW)) == []

    with_store(tmp_path, scenario)


def test_events_of_one_millisecond_are_sorted_as_emitted(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        faxes = [a_fax() for _ in range(20)]
        await accepted(store, *faxes)

        def at_once(tx: Transaction) -> None:
            for fax in faxes:
                tx.faxes.transition(fax.id, "claim", NOW)
                tx.faxes.transition(fax.id, "lose", NOW)
                tx.faxes.transition(fax.id, "confirm", NOW)

        await store.run(at_once)
        for fax in faxes:
            [last] = await store.run(lambda tx, id_=fax.id: tx.events.newest(id_, 1))  # type: ignore[misc]
            assert (last.type, last.seq) == ("fax.delivered", 4)

    with_store(tmp_path, scenario)


def test_a_document_with_an_empty_path_is_reported_as_deleted(tmp_path: Path) -> None:
    spool = LocalSpool(tmp_path / "spool")
    with pytest.raises(NotFound, match="deleted"):
        spool.open_document(replace(a_fax().documents[0], path=""))


def test_deadlines_shift_with_a_clock_that_was_set_except_a_time_that_a_sender_asked_for(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        day, later = timedelta(days=1), NOW + timedelta(hours=3)
        asked_for, tried, over = a_fax(due_at=later), a_fax(), a_fax()
        await accepted(store, asked_for, tried, over, key="key")
        attempt = (Attempt(n=1, started_at=NOW),)
        for fax, end in ((tried, "defer"), (over, "reject")):
            await store.run(lambda tx, id=fax.id: tx.faxes.transition(id, "claim", NOW, attempts=attempt))  # type: ignore[misc]
            await moved(store, fax.id, end)  # type: ignore[arg-type]
        await store.run(lambda tx: tx.faxes.update(tried.id, due_at=later))
        await store.run(lambda tx: tx.shift_deadlines(day, NOW))
        faxes = {fax.id: fax for fax in await store.run(lambda tx: tx.faxes.newest())}
        assert (faxes[asked_for.id].due_at, faxes[asked_for.id].expires_at) == (later, asked_for.expires_at + day)
        assert (faxes[tried.id].due_at, faxes[tried.id].expires_at) == (later + day, tried.expires_at + day)
        assert faxes[over.id].expires_at == over.expires_at
        assert await store.run(lambda tx: tx.deliveries.next_due("crm")) == NOW + day
        assert len((await store.run(lambda tx: tx.submissions.fax_ids(["key"], NOW + day)))["key"]) == 3
        await store.run(lambda tx: tx.shift_deadlines(-day, NOW))
        assert await store.run(lambda tx: tx.deliveries.next_due("crm")) == NOW

    with_store(tmp_path, scenario)


def test_work_stored_with_the_time_before_a_clock_was_set_back_is_due_at_once(tmp_path: Path) -> None:
    hour = timedelta(hours=1)

    async def scenario(store: SqlStore) -> None:
        asked_for = a_fax(NOW, due_at=NOW + 2 * hour)
        fresh = a_fax(NOW + hour)
        await store.run(lambda tx: tx.faxes.add(asked_for, NOW))
        await store.run(lambda tx: tx.faxes.add(fresh, NOW + hour))
        upload, deliver = store.subscribe("upload:office"), store.subscribe("deliver:crm")
        upload.clear()
        deliver.clear()
        assert await store.run(lambda tx: tx.pull_in_new_work(NOW)) == 3  # the fax, and its event to two webhooks
        assert (await store.run(lambda tx: tx.faxes.get(fresh.id))).due_at == NOW
        assert (await store.run(lambda tx: tx.faxes.get(asked_for.id))).due_at == NOW + 2 * hour
        assert len(await store.run(lambda tx: tx.deliveries.claim("crm", NOW, 9))) == 2
        assert upload.is_set()
        assert deliver.is_set()
        assert await store.run(lambda tx: tx.pull_in_new_work(NOW)) == 0

    with_store(tmp_path, scenario)
