"""The records of drafts that made room for others are deleted, also where several drafts are made at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mailbridge.errors import StoreUnavailable
from mailbridge.submission import shared_drafts
from mailbridge.submission.drafts import Drafts
from mailbridge.submission.shared_drafts import SharedDrafts


class Store:
    """Runs a transaction at once, and answers when `answers` is set. The first `fails` transactions fail instead."""

    def __init__(self, fails: int = 0) -> None:
        self.deleted: list[str] = []
        self.answers, self.fails = asyncio.Event(), fails
        drafts = SimpleNamespace(delete=lambda key, _: self.deleted.append(key), add=lambda *_: None)
        self._tx = SimpleNamespace(drafts=drafts)

    async def run(self, work: Callable[[Any], None]) -> None:
        if self.fails:
            self.fails -= 1
            raise StoreUnavailable("it does not answer")
        work(self._tx)
        await self.answers.wait()


@pytest.fixture(autouse=True)
def _each_displaces_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async def create(self: SharedDrafts, transaction: str, _: object) -> object:
        self._displaced.append((f"before {transaction}", "dana"))
        return SimpleNamespace(key=transaction, user="dana", made_at=datetime(2026, 1, 1, tzinfo=UTC))

    monkeypatch.setattr(Drafts, "create", create)
    monkeypatch.setattr(shared_drafts, "_record", lambda _: {})


def drafts_in(store: Store) -> SharedDrafts:
    return SharedDrafts(cast(Any, None), cast(Any, None), cast(Any, SimpleNamespace(store=store)), "fax.local")


def test_what_is_displaced_while_another_draft_is_stored_is_deleted_too() -> None:
    async def scenario() -> None:
        store = Store()
        drafts = drafts_in(store)
        first = asyncio.create_task(drafts.create(cast(Any, "a"), lambda _: None))
        await asyncio.sleep(0)
        assert store.deleted == ["before a"]
        drafts._displaced.append(("b", "dana"))  # a second draft has made room, and is not stored yet
        store.answers.set()
        await first
        await drafts.create(cast(Any, "c"), lambda _: None)
        assert store.deleted == ["before a", "b", "before c"]

    asyncio.run(scenario())


def test_what_a_failed_transaction_was_to_delete_is_deleted_by_the_next() -> None:
    async def scenario() -> None:
        store = Store(fails=1)
        store.answers.set()
        drafts = drafts_in(store)
        with pytest.raises(StoreUnavailable):
            await drafts.create(cast(Any, "a"), lambda _: None)
        await drafts.create(cast(Any, "b"), lambda _: None)
        assert store.deleted == ["before a", "before b"]

    asyncio.run(scenario())
