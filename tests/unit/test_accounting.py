"""Accounting: work is charged to its cause, wherever it is done, and to nobody once the request has ended."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response

from mailbridge import accounting
from mailbridge.accounting import charged, charging
from mailbridge.console.part_cache import PartCache
from mailbridge.store.sqlite import SqliteStore
from tests.wait_helpers import until


class Clock:
    """The seconds that work takes pass here."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(accounting, "perf_counter", clock := Clock())
    return clock


def test_the_steps_of_work_are_charged_and_what_it_waits_for_is_not(clock: Clock) -> None:
    async def work() -> str:
        clock.now += 1
        await asyncio.sleep(0)
        clock.now += 2
        return "result"

    async def other() -> None:
        clock.now += 100

    async def scenario() -> None:
        total: list[float] = []
        with charging(total.append):
            one, _ = await asyncio.gather(charged(work()), other())
        assert (one, sum(total)) == ("result", 3)
        # Without an account, nothing is counted.
        assert await charged(work()) == "result"
        assert sum(total) == 3

    asyncio.run(scenario())


def test_errors_and_cancellations_pass(clock: Clock) -> None:
    seen: list[str] = []

    async def fails() -> None:
        await asyncio.sleep(0)
        raise OSError("disk")

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            await asyncio.sleep(0)
            seen.append("cleaned up")
            raise

    async def scenario() -> None:
        with charging(lambda _: None):
            with pytest.raises(OSError, match="disk"):
                await charged(fails())
            task = asyncio.create_task(charged(waits()))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(scenario())
    assert seen == ["cancelled", "cleaned up"]


def test_the_stores_thread_is_charged(clock: Clock, tmp_path: Path) -> None:
    def search(tx: Any) -> str:
        clock.now += 5
        return "found"

    async def scenario() -> None:
        total: list[float] = []
        async with SqliteStore(tmp_path, lambda fax: {}, lambda type_: []) as store:
            with charging(total.append):
                assert await store.run(search) == "found"
                await until(lambda: total == [5])
            assert await store.run(search) == "found"
            assert total == [5]

    asyncio.run(scenario())


def test_a_part_of_a_page_is_charged_to_the_first_who_asked_for_it(clock: Clock) -> None:
    async def make() -> Response:
        await asyncio.sleep(0)
        clock.now += 7
        return Response("part")

    async def scenario() -> None:
        cache, first, second = PartCache(), list[float](), list[float]()

        async def ask(total: list[float]) -> None:
            with charging(total.append):
                await cache.answer("key", make)

        await asyncio.gather(ask(first), ask(second))
        assert (sum(first), sum(second)) == (7, 0)

    asyncio.run(scenario())


def test_what_goes_on_after_a_request_is_not_charged_to_it(clock: Clock) -> None:
    async def scenario() -> None:
        total: list[float] = []
        go = asyncio.Event()

        async def later() -> None:
            await go.wait()
            clock.now += 9

        with charging(total.append):
            task = asyncio.create_task(charged(later()))
            await asyncio.sleep(0)
        go.set()
        await task
        assert sum(total) == 0

    asyncio.run(scenario())
