"""A probe that all askers share: however many ask, it is made once at a time, and once a second."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

KEPT: Final = 1.0  # seconds


class SharedProbe(Generic[T]):
    """`await probe()` returns what `ask` returned in the last second, or asks again. An error reaches only those who wait."""

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self._result: asyncio.Future[T] | None = None
        self._ended_at = 0.0

    async def __call__(self) -> T:
        loop = asyncio.get_running_loop()
        if self._result is None or (self._result.done() and loop.time() - self._ended_at >= KEPT):
            self._result = asyncio.ensure_future(self._ask())
            self._result.add_done_callback(self._note_end)
        # One of many askers may give up.
        return await asyncio.shield(self._result)

    def _note_end(self, result: asyncio.Future[T]) -> None:
        self._ended_at = asyncio.get_running_loop().time()
        if result.cancelled() or result.exception() is not None:
            self._result = None
