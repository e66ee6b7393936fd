"""Answers that open pages ask for every few seconds, shared by all of them: each is made once in a while, however many ask.

How long an answer is kept depends on how long it took: a machine that has much to do makes fewer of them, and pages are a little
older there.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from mailbridge.accounting import charged

KEPT: Final = 2.0  # seconds at least
MOST_KEPT: Final = 4.5  # seconds: a page asks first after five, and gets nothing older than itself
SHARE: Final = 200  # an answer is kept this many times as long as it took
_MOST: Final = 200  # answers


@dataclass(slots=True)
class _Answer:
    """An answer, also one that is being made, and when it is to be made again."""

    response: asyncio.Future[Response]
    until: float


class PartCache:
    """`await cache.answer(key, make)` returns what `make` returned for this key a little while ago, or asks it again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._answers: OrderedDict[Hashable, _Answer] = OrderedDict()

    async def answer(self, key: Hashable, make: Callable[[], Awaitable[Response]]) -> Response:
        """Return an answer. Raises what `make` raises, which is not kept."""
        kept = self._answers.get(key)
        if kept is None or (kept.response.done() and (self._clock() >= kept.until or not _succeeded(kept.response))):
            kept = self._begin(make)
            self._answers[key] = kept
            self._answers.move_to_end(key)
            if len(self._answers) > _MOST:
                self._answers.popitem(last=False)
        # One of many that wait may hang up.
        return await asyncio.shield(kept.response)

    def forget(self) -> None:
        """Make every answer again: somebody has changed something, and must see it."""
        self._answers.clear()

    def _begin(self, make: Callable[[], Awaitable[Response]]) -> _Answer:
        now = self._clock()
        begun = _Answer(asyncio.ensure_future(charged(make())), now)  # whoever began it pays

        def end(response: asyncio.Future[Response]) -> None:
            begun.until = now + max(KEPT, min(MOST_KEPT, SHARE * (self._clock() - now)))
            if not response.cancelled():
                response.exception()

        begun.response.add_done_callback(end)
        return begun


def _succeeded(answer: asyncio.Future[Response]) -> bool:
    return not answer.cancelled() and answer.exception() is None
