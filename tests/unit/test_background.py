"""The services in the background: what a reload starts, and what it does not."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from mailbridge.assembly import Part
from mailbridge.background import Background
from mailbridge.errors import ControlError
from mailbridge.runtime import Runtime
from tests.wait_helpers import PATIENCE, until


class Store:
    """A store without faxes and deliveries, whose next transaction ends when `goes_on` is set."""

    def __init__(self) -> None:
        self.begun, self.goes_on = asyncio.Event(), asyncio.Event()

    async def run(self, work: object) -> list[object]:
        self.begun.set()
        await self.goes_on.wait()
        return []


class Service:
    def __init__(self) -> None:
        self.started = asyncio.Event()

    async def run(self) -> None:
        self.started.set()
        await asyncio.Event().wait()


@pytest.mark.parametrize("stops", [True, False])
def test_a_reload_starts_nothing_once_the_daemon_stops(stops: bool) -> None:
    async def scenario() -> None:
        store, first, second = Store(), Service(), Service()
        runtime = Runtime(cast(Any, store), cast(Any, None), lambda: datetime.now(UTC), random.random)
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            background = Background(group, runtime)
            await background.change([Part("watcher", "office", ("old",), first)], "hold")
            await first.started.wait()
            reload = asyncio.create_task(background.change([Part("watcher", "office", ("new",), second)], "hold"))
            await store.begun.wait()
            if stops:
                await background.drain(0)
                background.cancel()
                with pytest.raises(ControlError, match="stopping"):
                    background.check_not_stopping()
            else:
                background.check_not_stopping()
            store.goes_on.set()
            await reload
            if not stops:
                await second.started.wait()
                background.cancel()
        assert second.started.is_set() is not stops

    asyncio.run(scenario())


class Leases:
    """The leases of a node that has all that it wants."""

    def __init__(self) -> None:
        self.wanted: list[str] = []
        self.given_back: list[str] = []

    def want(self, name: str, _: object) -> None:
        self.wanted.append(name)

    def give_back(self, name: str) -> None:
        self.wanted.remove(name)
        if name not in self.wanted:
            self.given_back.append(name)

    def has(self, name: str) -> bool:
        return name in self.wanted

    def has_others(self) -> bool:
        return False


def with_leases(scenario: Callable[[Background, Leases], Awaitable[None]]) -> None:
    async def main() -> None:
        store, leases = Store(), Leases()
        store.goes_on.set()
        runtime = Runtime(cast(Any, store), cast(Any, None), lambda: datetime.now(UTC), random.random)
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            background = Background(group, runtime, leases)
            await scenario(background, leases)
            background.cancel()

    asyncio.run(main())


def test_a_reload_keeps_the_lease_of_what_it_replaces_and_gives_back_that_of_what_it_removes() -> None:
    async def scenario(background: Background, leases: Leases) -> None:
        office, other, changed = Service(), Service(), Service()
        parts = [Part("watcher", "office", ("old",), office, "mailbox office"), Part("watcher", "b", (), other, "mailbox b")]
        await background.change(parts, "hold")
        await office.started.wait()
        await background.change([Part("watcher", "office", ("new",), changed, "mailbox office")], "hold")
        await changed.started.wait()
        assert (leases.wanted, leases.given_back) == (["mailbox office"], ["mailbox b"])

    with_leases(scenario)


def test_p18_a_daemon_that_stops_gives_its_leases_back_before_its_uploads_end() -> None:
    async def scenario(background: Background, leases: Leases) -> None:
        office, dispatcher = Service(), Service()
        parts = [Part("watcher", "office", (), office, "mailbox office"), Part("dispatcher", "crm", (), dispatcher)]
        await background.change(parts, "hold")
        await office.started.wait()
        await background.drain(0)
        await until(lambda: leases.given_back == ["mailbox office"])

    with_leases(scenario)
