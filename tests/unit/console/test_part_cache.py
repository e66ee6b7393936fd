"""Parts of pages are made once for all who ask, kept longer the longer they took, and never as an error."""

from __future__ import annotations

import asyncio

import pytest
from starlette.responses import Response

from mailbridge.console.part_cache import KEPT, MOST_KEPT, SHARE, PartCache


class Maker:
    """Makes answers, each of which takes so many seconds of its clock."""

    def __init__(self, takes: float = 0.0) -> None:
        self.now, self.takes, self.made, self.error = 0.0, takes, 0, False

    def clock(self) -> float:
        return self.now

    async def make(self) -> Response:
        self.made += 1
        self.now += self.takes
        await asyncio.sleep(0)
        if self.error:
            raise ValueError("no answer")
        return Response(str(self.made))


@pytest.mark.parametrize(
    ("takes", "kept"), [(0.0, KEPT), (0.001, KEPT), (0.02, 0.02 * SHARE), (1.0, MOST_KEPT), (MOST_KEPT * 2, MOST_KEPT)]
)
def test_an_answer_is_kept_the_longer_the_longer_it_took(takes: float, kept: float) -> None:
    async def scenario() -> None:
        maker = Maker(takes)
        cache = PartCache(maker.clock)
        await asyncio.gather(*(cache.answer("key", maker.make) for _ in range(50)))
        assert maker.made == 1
        maker.now = max(maker.now, kept - 0.001)
        assert (await cache.answer("key", maker.make)).body == (b"1" if takes < kept else b"2")
        maker.now, before = kept + takes + kept, maker.made
        await cache.answer("key", maker.make)
        assert maker.made == before + 1

    asyncio.run(scenario())


def test_an_error_is_not_kept() -> None:
    async def scenario() -> None:
        maker = Maker()
        maker.error = True
        cache = PartCache(maker.clock)
        for _ in range(2):
            with pytest.raises(ValueError, match="no answer"):
                await cache.answer("key", maker.make)
        maker.error = False
        assert (await cache.answer("key", maker.make)).body == b"3"

    asyncio.run(scenario())


def test_one_that_hangs_up_does_not_take_the_answer_from_the_others() -> None:
    async def scenario() -> None:
        maker = Maker()
        cache = PartCache(maker.clock)
        one, other = (asyncio.create_task(cache.answer("key", maker.make)) for _ in range(2))
        await asyncio.sleep(0)
        one.cancel()
        assert (await other).body == b"1"

    asyncio.run(scenario())


def test_what_is_kept_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailbridge.console.part_cache._MOST", 3)

    async def scenario() -> None:
        maker = Maker()
        cache = PartCache(maker.clock)
        for key in range(10):
            await cache.answer(key, maker.make)
        await cache.answer(9, maker.make)
        assert maker.made == 10
        await cache.answer(6, maker.make)
        assert maker.made == 11

    asyncio.run(scenario())
