"""Several nodes on one PostgreSQL: who is alive, who goes on with whose work, and what a node that was cut off may still do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mailbridge.clock import steady
from mailbridge.errors import StoreUnavailable, UploadSuperseded
from mailbridge.fax.interrupted_uploads import recover_interrupted
from mailbridge.fax.outcome import UploadOutcome, apply_outcome
from mailbridge.lifecycle import FaxState
from mailbridge.model import Attempt, Fax, ReceivedItem, new_id, new_token
from mailbridge.runtime import Runtime
from mailbridge.store import postgres_node
from mailbridge.store.faxes import Faxes
from mailbridge.store.interface import Transaction
from mailbridge.store.postgres import PostgresStore
from mailbridge.store.rivals import LEASE
from tests.factories import NOW, a_fax, an_envelope
from tests.store.factories import a_store, ask
from tests.wait_helpers import until

pytestmark = pytest.mark.usefixtures("only_postgres")
Nodes = Callable[[PostgresStore, PostgresStore], Awaitable[None]]


@asynccontextmanager
async def a_node(path: Path) -> AsyncIterator[PostgresStore]:
    store = a_store(path)
    assert isinstance(store, PostgresStore)
    async with store:
        yield store


def with_two_nodes(path: Path, scenario: Nodes) -> None:
    async def main() -> None:
        async with a_node(path) as one, a_node(path) as other:
            await scenario(one, other)

    asyncio.run(main())


def fall_silent(path: Path, node: PostgresStore) -> None:
    """Let a node's last heartbeat be older than its lease, as if it had been killed, paused or cut off."""
    ask(path, "UPDATE node SET seen_at = seen_at - ? WHERE id = ?", (LEASE + 1) * 1_000_000, node.node.id)


async def claimed(node: PostgresStore) -> Fax:
    """Store a fax, and let a node claim it as the uploader does."""
    fax = a_fax()
    await node.run(lambda tx: tx.submissions.add(an_envelope(), [fax], None, NOW))
    return await claim(node, fax.id)


async def claim(node: PostgresStore, fax_id: str) -> Fax:
    def work(tx: Transaction) -> Fax:
        fax = tx.faxes.get(fax_id)
        token = new_token() if fax.attempts else fax.token
        attempts = (*fax.attempts, Attempt(n=len(fax.attempts) + 1, started_at=NOW, token=token))
        return tx.faxes.transition(fax_id, "claim", NOW, attempts=attempts, token=token)

    return await node.run(work)


async def take_over(node: PostgresStore) -> None:
    spool: Any = None
    await recover_interrupted(Runtime(node, spool, lambda: NOW, lambda: 0.0))


async def state(node: PostgresStore, fax: Fax) -> FaxState:
    return (await node.run(lambda tx: tx.faxes.get(fax.id))).state


def answer(fax: Fax, trigger: Any, **changes: Any) -> Callable[[Transaction], Fax]:
    outcome = UploadOutcome(trigger, {"fax_code": "code", **changes} if trigger == "accept" else changes)
    return lambda tx: apply_outcome(tx, fax.id, len(fax.attempts), outcome, "hold", NOW)


def test_p5_a_start_changes_nothing_of_what_another_node_has_under_way(tmp_path: Path) -> None:
    async def scenario(one: PostgresStore, other: PostgresStore) -> None:
        faxes = [await claimed(one) for _ in range(50)]
        deliveries = await one.run(lambda tx: tx.deliveries.claim("crm", NOW, 50))
        assert (len(deliveries), deliveries[0][0].node, faxes[0].node) == (50, one.node.id, one.node.id)
        await take_over(other)
        assert await other.run(lambda tx: tx.deliveries.requeue_interrupted()) == 0
        assert await other.run(lambda tx: tx.faxes.counts()) == {"uploading": 50}
        fall_silent(tmp_path, one)
        await take_over(other)
        assert await other.run(lambda tx: tx.deliveries.requeue_interrupted()) == 50
        assert await other.run(lambda tx: tx.faxes.counts()) == {"queued": 50}

    with_two_nodes(tmp_path, scenario)


def test_p2_a_node_that_was_paused_before_the_mark_sends_no_last_bytes(tmp_path: Path) -> None:
    async def scenario(paused: PostgresStore, other: PostgresStore) -> None:
        fax = await claimed(paused)
        fall_silent(tmp_path, paused)
        await take_over(other)
        with pytest.raises(UploadSuperseded):
            await paused.run(lambda tx: tx.faxes.mark_whole(fax.id, 1, NOW))
        again = await claim(other, fax.id)
        with pytest.raises(UploadSuperseded):
            await paused.run(lambda tx: tx.faxes.mark_whole(fax.id, 1, NOW))
        await paused.run(answer(fax, "defer", due_at=NOW))  # what its unfinished request ends with
        await other.run(lambda tx: tx.faxes.mark_whole(fax.id, 2, NOW))
        after = await other.run(lambda tx: tx.faxes.get(fax.id))
        assert (after.state, after.node, after.token) == ("uploading", other.node.id, again.token)
        assert [attempt.whole_at for attempt in after.attempts] == [None, NOW]

    with_two_nodes(tmp_path, scenario)


def test_p2_a_mark_that_overtakes_the_takeover_leaves_a_doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other node has seen the fax without its mark, and the slow commit of the mark comes before the fax is changed."""

    async def scenario(slow: PostgresStore, other: PostgresStore) -> None:
        fax = await claimed(slow)
        fall_silent(tmp_path, slow)
        loop, find, seen = asyncio.get_running_loop(), Faxes.interrupted, list[Fax]()

        def interrupted(self: Faxes, *, own: bool = False, limit: int = 1000) -> list[Fax]:
            found = find(self, own=own, limit=limit)
            if found and not seen:
                mark = slow.run(lambda tx: tx.faxes.mark_whole(fax.id, 1, NOW))
                asyncio.run_coroutine_threadsafe(mark, loop).result()
            seen.extend(found)
            return found

        monkeypatch.setattr(Faxes, "interrupted", interrupted)
        await take_over(other)
        assert [bool(one.attempts[-1].whole_at) for one in seen] == [False, True]
        assert await state(other, fax) == "in_doubt"

    with_two_nodes(tmp_path, scenario)


def test_p3_a_node_that_was_paused_after_the_mark_leaves_a_doubt_which_its_answer_ends(tmp_path: Path) -> None:
    async def scenario(paused: PostgresStore, other: PostgresStore) -> None:
        sent, refused, unknown = [await claimed(paused) for _ in range(3)]
        for fax in (sent, refused, unknown):
            await paused.run(lambda tx, id=fax.id: tx.faxes.mark_whole(id, 1, NOW))  # type: ignore[misc]  # a default has no type
        fall_silent(tmp_path, paused)
        await take_over(other)
        assert await other.run(lambda tx: tx.faxes.counts()) == {"in_doubt": 3}
        await paused.run(answer(sent, "accept", due_at=NOW))
        await paused.run(answer(refused, "reject"))
        await paused.run(answer(unknown, "lose"))
        states = [await state(other, fax) for fax in (sent, refused, unknown)]
        assert states == ["submitted", "failed", "in_doubt"]

    with_two_nodes(tmp_path, scenario)


def test_p3_an_answer_after_the_fax_has_gone_on_goes_into_the_audit(tmp_path: Path) -> None:
    async def scenario(paused: PostgresStore, other: PostgresStore) -> None:
        fax = await claimed(paused)
        await paused.run(lambda tx: tx.faxes.mark_whole(fax.id, 1, NOW))
        fall_silent(tmp_path, paused)
        await take_over(other)
        await other.run(lambda tx: tx.faxes.transition(fax.id, "resend", NOW))
        again = await claim(other, fax.id)
        await paused.run(answer(fax, "accept", due_at=NOW))
        after = await other.run(lambda tx: tx.faxes.get(fax.id))
        assert (after.state, after.token, after.fax_code) == ("uploading", again.token, None)
        [line] = await other.run(lambda tx: tx.audit.newest(fax.id))
        assert (line.what, line.record["fax_code"], line.record["attempt"]) == ("fax.late_answer", "code", 1)

    with_two_nodes(tmp_path, scenario)


def test_p12_a_node_that_the_database_has_not_heard_of_claims_and_marks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(cut_off: PostgresStore, other: PostgresStore) -> None:
        fax, waiting = await claimed(cut_off), a_fax()
        await cut_off.run(lambda tx: tx.submissions.add(an_envelope(), [waiting], None, NOW))
        real = cut_off.node._monotonic
        monkeypatch.setattr(cut_off.node, "_monotonic", lambda: real() + postgres_node._TRUSTED)
        with pytest.raises(StoreUnavailable, match="taken over"):
            await cut_off.run(lambda tx: tx.faxes.mark_whole(fax.id, 1, NOW))
        with pytest.raises(StoreUnavailable, match="taken over"):
            await claim(cut_off, waiting.id)
        cut_off.node.beat()
        await cut_off.run(lambda tx: tx.faxes.mark_whole(fax.id, 1, NOW))

    with_two_nodes(tmp_path, scenario)


def test_p6_one_mail_given_to_two_nodes_is_one_envelope(tmp_path: Path) -> None:
    def accept(fax: Fax, tx: Transaction) -> list[str]:
        since = NOW - timedelta(days=1)
        if known := tx.submissions.fax_ids(["key"], since):
            return known["key"]
        tx.submissions.add(an_envelope(), [fax], "key", NOW)
        return [fax.id]

    async def scenario(one: PostgresStore, other: PostgresStore) -> None:
        for _ in range(50):
            faxes = a_fax(), a_fax()
            pairs = zip((one, other), faxes, strict=True)
            answers = await asyncio.gather(*(node.run(lambda tx, fax=fax: accept(fax, tx)) for node, fax in pairs))  # type: ignore[misc]  # a default has no type
            assert answers[0] == answers[1]
            ask(tmp_path, "DELETE FROM envelope")

    with_two_nodes(tmp_path, scenario)


def test_p17_one_call_per_number_and_the_uploads_of_an_account_hold_over_all_nodes(tmp_path: Path) -> None:
    def work(tx: Transaction) -> list[str]:
        free = tx.faxes.free_uploads("office", 2)
        found = tx.faxes.due_uploads(NOW, "office", 1, free) if free else []
        return [tx.faxes.transition(fax.id, "claim", NOW).id for fax in found if tx.faxes.may_call(fax.number, 1, again=False)]

    async def scenario(one: PostgresStore, other: PostgresStore) -> None:
        for n in range(4):
            faxes = [a_fax(number=f"+97239876{number}", user=f"user{n}") for number in (100, 100, 200, 300)]
            await one.run(lambda tx, faxes=faxes: tx.submissions.add(an_envelope(), faxes, None, NOW))  # type: ignore[misc]  # a default has no type
        for _ in range(10):
            await asyncio.gather(*(node.run(work) for node in (one, other) * 4))
            uploading = await one.run(lambda tx: tx.faxes.newest("uploading"))
            numbers = [fax.number for fax in uploading]
            assert 1 <= len(numbers) == len(set(numbers)) <= 2
            for fax in uploading:
                await one.run(lambda tx, id=fax.id: tx.faxes.transition(id, "defer", NOW))  # type: ignore[misc]  # a default has no type

    with_two_nodes(tmp_path, scenario)


def test_p9_a_mail_and_the_list_report_one_fax_on_two_nodes_and_the_second_sees_the_first(tmp_path: Path) -> None:
    def report(tx: Transaction) -> int:
        found = tx.received.between("office", "incoming", NOW, NOW)
        item = ReceivedItem(id=new_id("fax"), account="office", kind="incoming", caller=None, called=None, at=NOW, noted_at=NOW)
        tx.received.put(item)
        return len(found)

    async def scenario(one: PostgresStore, other: PostgresStore) -> None:
        loop, second = asyncio.get_running_loop(), list[asyncio.Future[int]]()

        async def begin() -> None:
            second.append(asyncio.ensure_future(other.run(report)))
            await until(lambda: second[0].done() or ask(tmp_path, "SELECT 1 FROM pg_locks WHERE NOT granted") != [])

        def first(tx: Transaction) -> int:
            found = report(tx)
            asyncio.run_coroutine_threadsafe(begin(), loop).result()
            return found

        assert (await one.run(first), await second[0]) == (0, 1)

    with_two_nodes(tmp_path, scenario)


def takes(node: PostgresStore, name: str = "poller") -> bool:
    """Let a node look at the leases; return whether it has this one now."""
    node.node.beat()
    return node.node.has(name)


def want(*nodes: PostgresStore, name: str = "poller") -> None:
    for node in nodes:
        node.node.want(name, lambda: None)


def test_p10_a_lease_has_one_node_at_a_time_and_passes_on_when_that_ends_or_falls_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(one: PostgresStore, other: PostgresStore) -> None:
        for node in (one, other):  # heartbeats and looks at leases are made here alone
            monkeypatch.setattr(node.node, "wake", lambda: None)
        want(one)
        assert takes(one)
        want(other)
        assert not takes(other)
        fall_silent(tmp_path, one)
        assert takes(other)
        assert not takes(one)
        other.node.give_back("poller")
        assert not takes(other)
        assert takes(one)

    with_two_nodes(tmp_path, scenario)


def test_p10_a_node_that_comes_back_never_trusts_itself_with_what_another_has_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread may ask at any moment of the heartbeat."""
    seen: list[bool] = []

    class Asked(postgres_node.PostgresNode):
        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            seen.append(self.has("poller"))

    async def scenario(one: PostgresStore, other: PostgresStore) -> None:
        for node in (one, other):
            monkeypatch.setattr(node.node, "wake", lambda: None)
        want(one, other)
        assert takes(one)
        fall_silent(tmp_path, one)
        assert takes(other)
        one.node._trusted_until = 0.0
        one.node.__class__ = Asked
        assert not takes(one)
        assert seen
        assert not any(seen)

    with_two_nodes(tmp_path, scenario)


def test_a_heartbeat_outlives_facts_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_node, "_LOOK", 0.01)
    monkeypatch.setattr(postgres_node, "_RETRY", 0.01)
    asked: list[dict[str, Any]] = []

    def facts() -> dict[str, Any]:
        asked.append({"mailbox office": len(asked)})
        if len(asked) < 3:
            raise RuntimeError("the mailboxes change just now")
        return asked[2]

    async def main() -> None:
        async with a_node(tmp_path) as node:
            node.node.facts = facts
            await until(lambda: ask(tmp_path, "SELECT facts FROM node") == [({"mailbox office": 2},)])

    asyncio.run(main())


def test_p18_a_node_that_stops_gives_its_leases_back_and_is_no_longer_listed(tmp_path: Path) -> None:
    async def main() -> None:
        async with a_node(tmp_path) as one:
            async with a_node(tmp_path) as other:
                want(other, name="mailbox office")
                await until(lambda: takes(other, "mailbox office"))
                want(one, name="mailbox office")
                [mine, its] = await one.run(lambda tx: tx.nodes())
                assert (mine.id, mine.leases, its.leases) == (one.node.id, (), ("mailbox office",))
                assert mine.alive
                assert its.alive
            await until(lambda: one.node.has("mailbox office"))
            assert [node.id for node in await one.run(lambda tx: tx.nodes())] == [one.node.id]

    asyncio.run(main())


def test_the_size_of_the_database_is_known_to_each_node(tmp_path: Path) -> None:
    async def scenario(one: PostgresStore, other: PostgresStore) -> None:
        size = await one.run(lambda tx: tx.database_size())
        assert size is not None
        assert size > 1_000_000

    with_two_nodes(tmp_path, scenario)


def test_p7_a_node_counts_the_time_in_which_its_machine_slept(tmp_path: Path) -> None:
    async def main() -> None:
        async with a_node(tmp_path) as node:
            assert node.node._monotonic is steady

    asyncio.run(main())


def test_p7_a_nodes_time_is_the_databases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with a_node(tmp_path) as node:
            [(micros,)] = ask(tmp_path, "SELECT seen_at FROM node")
            real = node.node._monotonic()
            monkeypatch.setattr(node.node, "_monotonic", lambda: real)
            first = node.node.now()
            monkeypatch.setattr(node.node, "_monotonic", lambda: real + 60)
            assert node.node.now() - first == timedelta(seconds=60)
            assert abs(first.timestamp() - micros / 1e6) < 3600

    asyncio.run(main())
