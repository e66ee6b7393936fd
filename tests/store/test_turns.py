"""Users of one account take turns, and the next fax is found quickly however many wait."""

from __future__ import annotations

import itertools
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mailbridge.model import Fax, new_id, new_token
from mailbridge.store.sql_store import SqlStore
from tests.factories import NOW, NUMBER, a_fax, an_envelope
from tests.store.factories import with_store

pytestmark = pytest.mark.usefixtures("database")

_numbers = itertools.count()


def of(user: str | None, second: int = 0, **changes: Any) -> Fax:
    """Return a fax to a number of its own, due at `second`."""
    plain = {"number": f"+9723{next(_numbers):07}", "due_at": NOW + timedelta(seconds=second)}
    return a_fax(id=new_id("fax"), token=new_token(), user=user, **{**plain, **changes})


async def add(store: SqlStore, *faxes: Fax) -> None:
    await store.run(lambda tx: tx.submissions.add(an_envelope(), faxes, None, NOW))


async def turn(store: SqlStore, after: str = "", limit: int = 9, per_number: int = 1, second: int = 100) -> list[Fax]:
    now = NOW + timedelta(seconds=second)
    return await store.run(lambda tx: tx.faxes.due_uploads(now, "office", per_number, limit, after))


def test_attack_10_one_users_five_thousand_faxes_do_not_keep_another_users_single_fax_waiting(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        await add(store, *(of("many", number) for number in range(5_000)))
        single = of("single", 6_000)
        await add(store, single)
        after, order = "", []
        for _ in range(4):
            [fax] = await turn(store, after, limit=1, second=10_000)
            order.append(fax.user)
            after = fax.owner
            await store.run(lambda tx, fax=fax: tx.faxes.transition(fax.id, "claim", NOW))  # type: ignore[misc]  # a default binds it
        assert order == ["many", "single", "many", "many"]

    with_store(tmp_path, scenario)


def test_users_take_turns_and_each_ones_earliest_fax_comes_first(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        late, early = of("b", 5), of("b", 1)
        faxes = [late, early, of("a", 9), of(None, client="127.0.0.1"), of(None), of("c", 500), of("d", account="other")]
        await add(store, *faxes)
        owners = [fax.owner for fax in await turn(store)]
        assert owners == ["-", "127.0.0.1", "a", "b"]
        assert [fax.owner for fax in await turn(store, after="127.0.0.1")] == ["a", "b", "-", "127.0.0.1"]
        assert [fax.owner for fax in await turn(store, after="b", limit=2)] == ["-", "127.0.0.1"]
        assert [fax.owner for fax in await turn(store, after="zz", limit=1)] == ["-"]
        assert (await turn(store, after="a", limit=1))[0].id == early.id
        assert await turn(store, second=-1) == []

    with_store(tmp_path, scenario)


def test_a_number_that_is_called_is_passed_over_within_a_users_faxes(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        calling, waiting, other = of("a", number=NUMBER), of("a", 1, number=NUMBER), of("a", 2)
        await add(store, calling, waiting, other, of("b", number=NUMBER))
        await store.run(lambda tx: tx.faxes.transition(calling.id, "claim", NOW))
        assert [fax.id for fax in await turn(store)] == [other.id]
        assert [fax.id for fax in await turn(store, per_number=0, limit=1)] == [waiting.id]

    with_store(tmp_path, scenario)
