"""P10: a service runs on one node at a time, on another one when that ends, and never on two."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from mailbridge.store import leased_service
from mailbridge.store.leased_service import LeasedService
from tests.wait_helpers import until


class Database:
    """Leases of several nodes, as the database has them."""

    def __init__(self) -> None:
        self.holder: str | None = None
        self.asked = 0
        self.wanted: dict[str, int] = {}
        self.changed: list[Callable[[], None]] = []

    def pass_on(self, holder: str | None) -> None:
        """Let a node have the lease, or the next one that wants it."""
        self.holder = holder or next((name for name, count in self.wanted.items() if count), None)
        for call in self.changed:
            call()


class Node:
    """One node, whose trust in its leases can end."""

    def __init__(self, name: str, database: Database) -> None:
        self._name, self._database = name, database
        self.lease_is_over = False
        self.running, self.runs = 0, 0
        self.fails = self.others = self.struggles = False

    def want(self, _: str, changed: Callable[[], None]) -> None:
        self._database.wanted[self._name] = self._database.wanted.get(self._name, 0) + 1
        self._database.changed.append(changed)
        if self._database.holder is None:
            self._database.pass_on(self._name)

    def give_back(self, _: str) -> None:
        self._database.wanted[self._name] -= 1
        if self._database.holder == self._name and not self._database.wanted[self._name]:
            self._database.pass_on(None)

    def has(self, _: str) -> bool:
        self._database.asked += 1
        return self._database.holder == self._name and not self.lease_is_over

    def has_others(self) -> bool:
        return self.others

    async def service(self) -> None:
        self.running += 1
        self.runs += 1
        try:
            if self.fails:
                raise ValueError("a bug")
            await asyncio.Event().wait()
        finally:
            self.running -= 1


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leased_service, "_EVERY", 0.001)


@contextlib.asynccontextmanager
async def serving(*nodes: Node, struggles: Callable[[], bool] = lambda: False) -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks = [asyncio.create_task(LeasedService("poller", node.service, node, struggles).run()) for node in nodes]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def test_one_of_two_nodes_runs_it_and_the_other_when_that_stops() -> None:
    async def main() -> None:
        database = Database()
        one, other = Node("one", database), Node("other", database)
        async with serving(one, other) as tasks:
            await until(lambda: one.running + other.running == 1)
            first, second = (one, other) if one.running else (other, one)
            tasks[0 if first is one else 1].cancel()
            await until(lambda: second.running == 1)
            assert (first.running, first.runs) == (0, 1)
        assert (second.running, database.holder) == (0, None)

    asyncio.run(main())


def test_a_node_that_is_cut_off_ends_the_service_when_its_lease_may_be_over() -> None:
    async def main() -> None:
        node = Node("one", Database())
        async with serving(node):
            await until(lambda: node.running == 1)
            node.lease_is_over = True
            await until(lambda: node.running == 0)
            node.lease_is_over = False
            await until(lambda: (node.running, node.runs) == (1, 2))

    asyncio.run(main())


def test_a_lease_that_another_node_has_taken_ends_the_service() -> None:
    async def main() -> None:
        database = Database()
        node = Node("one", database)
        async with serving(node):
            await until(lambda: node.running == 1)
            database.pass_on("other")
            await until(lambda: node.running == 0)
            assert database.holder == "other"

    asyncio.run(main())


def test_a_service_that_replaces_another_keeps_its_lease() -> None:
    async def main() -> None:
        database = Database()
        node, other = Node("one", database), Node("other", database)
        async with serving(node, other) as [first, _]:
            await until(lambda: node.running == 1)
            async with serving(node):
                first.cancel()
                await until(lambda: node.runs == 2)
                assert (node.running, other.runs, database.holder) == (1, 0, "one")
            await until(lambda: other.running == 1)

    asyncio.run(main())


def test_a_service_that_cannot_work_here_is_left_to_another_node_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leased_service, "_STRUGGLE", 0.001)
    monkeypatch.setattr(leased_service, "_REST", 0.02)

    async def main() -> None:
        database = Database()
        lame, well = Node("lame", database), Node("well", database)
        async with serving(lame, struggles=lambda: lame.struggles):
            await until(lambda: lame.running == 1)
            lame.struggles = True
            asked = database.asked
            await until(lambda: database.asked > asked + 5)
            assert (lame.running, lame.runs) == (1, 1)  # there is nobody else
            lame.others = True
            async with serving(well):
                await until(lambda: well.running == 1)
                assert lame.running == 0
                await until(lambda: database.wanted["lame"] == 1)  # it would take it again
            await until(lambda: lame.runs >= 2)
            monkeypatch.setattr(leased_service, "_REST", 86400.0)
            await until(lambda: lame.running == 0)
            lame.others = False  # the other one has ended
            await until(lambda: lame.running == 1)

    asyncio.run(main())


def test_an_error_of_the_service_is_its_own() -> None:
    async def main() -> None:
        database = Database()
        node = Node("one", database)
        node.fails = True
        with pytest.raises(ValueError, match="a bug"):
            await LeasedService("poller", node.service, node).run()
        assert database.holder is None

    asyncio.run(main())
