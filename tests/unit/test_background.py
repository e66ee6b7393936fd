"""The services in the background: what a reload starts, and what it does not."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from mailbridge.assembly import Part
from mailbridge.background import Background
from mailbridge.errors import ControlError
from mailbridge.runtime import Runtime
from tests.wait_helpers import PATIENCE


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
