"""A node hears at once of work that another one has stored, and goes on without it where it cannot."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from queue import Queue
from typing import Any, cast

import psycopg
import pytest

from mailbridge.store.postgres import PostgresStore
from mailbridge.store.postgres_waking import Waking
from tests.factories import NOW, a_fax, an_envelope
from tests.store.factories import a_store, ask
from tests.wait_helpers import PATIENCE, until

pytestmark = pytest.mark.usefixtures("only_postgres")


def with_two_nodes(path: Path, scenario: Callable[[PostgresStore, PostgresStore], Awaitable[None]]) -> None:
    async def main() -> None:
        one, other = a_store(path), a_store(path)
        assert isinstance(one, PostgresStore)
        assert isinstance(other, PostgresStore)
        async with one, other:
            await scenario(one, other)

    asyncio.run(main())


async def accept(node: PostgresStore) -> None:
    await node.run(lambda tx: tx.submissions.add(an_envelope(), [a_fax()], None, NOW))


LISTENERS = "FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"


async def listening(path: Path, count: int = 2) -> None:
    await until(lambda: ask(path, f"SELECT count(*) {LISTENERS}") == [(count,)])


def test_work_that_one_node_stores_wakes_the_other(tmp_path: Path) -> None:
    async def scenario(one: PostgresStore, other: PostgresStore) -> None:
        upload, poll = other.subscribe("upload:office"), other.subscribe("poll")
        await accept(one)
        await until(upload.is_set)
        assert not poll.is_set()

    with_two_nodes(tmp_path, scenario)


def test_p13_after_the_listening_connection_was_lost_every_topic_is_looked_at(tmp_path: Path) -> None:
    async def scenario(one: PostgresStore, other: PostgresStore) -> None:
        topics = [other.subscribe(topic) for topic in ("upload:office", "deliver:crm")]
        ask(tmp_path, f"SELECT pg_terminate_backend(pid) {LISTENERS}")
        await until(lambda: all(topic.is_set() for topic in topics))
        topics[0].clear()
        await listening(tmp_path)
        await accept(one)
        await until(topics[0].is_set)

    with_two_nodes(tmp_path, scenario)


def test_p13_a_node_that_may_not_listen_still_looks_at_every_topic() -> None:
    def forbidden() -> Any:
        raise psycopg.errors.InsufficientPrivilege

    woken = Queue[set[str] | None]()
    waking = Waking(cast(Any, Engine()), forbidden, "nod_1", woken.put)
    waking.start()
    try:
        assert [woken.get(timeout=PATIENCE) for _ in range(3)] == [None, None, None]
    finally:
        waking.stop()


def test_p13_a_node_that_hears_nothing_looks_at_every_topic_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailbridge.store.postgres_waking._PING", 0.0)

    async def scenario(one: PostgresStore, other: PostgresStore) -> None:
        topic = one.subscribe("deliver:crm")
        for _ in range(2):
            topic.clear()
            await until(topic.is_set)

    with_two_nodes(tmp_path, scenario)


def test_p15_many_commits_share_a_notification(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[list[str]] = []

    def send(_: Waking, topics: Iterable[str]) -> None:
        sent.append(sorted(topics))

    def nowhere() -> Any:
        raise psycopg.OperationalError

    monkeypatch.setattr(Waking, "_send", send)
    waking = Waking(cast(Any, Engine()), nowhere, "nod_1", lambda _: None)
    waking.start()
    begun = time.monotonic()
    for _ in range(100_000):
        waking.announce({"poll", "upload:office"})
    waking.stop()
    assert 1 <= len(sent) <= 2 + (time.monotonic() - begun) * 20
    assert sent[0] == ["poll", "upload:office"]


class Engine:
    """An engine that connects nowhere."""

    def dispose(self) -> None:
        """Close nothing."""
