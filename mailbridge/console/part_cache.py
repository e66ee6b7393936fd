"""Answers that open pages ask for every few seconds, shared by all of them: each is made once in a while, however many ask."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Final

from starlette.responses import Response

from mailbridge.accounting import charged

KEPT: Final = 2.0  # seconds
_MOST: Final = 200  # answers


class PartCache:
    """`await cache.answer(key, make)` returns what `make` returned for this key in the last two seconds, or asks it again."""

    def __init__(self) -> None:
        # By key: the answer, also one that is being made, and when it was asked for.
        self._answers: OrderedDict[Hashable, tuple[float, asyncio.Future[Response]]] = OrderedDict()

    async def answer(self, key: Hashable, make: Callable[[], Awaitable[Response]]) -> Response:
        """Return an answer. Raises what `make` raises, which is not kept."""
        now = asyncio.get_running_loop().time()
        asked, answer = self._answers.get(key, (0.0, None))
        if answer is None or (answer.done() and (now - asked >= KEPT or not _succeeded(answer))):
            answer = asyncio.ensure_future(charged(make()))
            answer.add_done_callback(lambda it: it.cancelled() or it.exception())
            self._answers[key] = (now, answer)
            self._answers.move_to_end(key)
            if len(self._answers) > _MOST:
                self._answers.popitem(last=False)
        # One of many that wait may hang up.
        return await asyncio.shield(answer)


def _succeeded(answer: asyncio.Future[Response]) -> bool:
    return not answer.cancelled() and answer.exception() is None
