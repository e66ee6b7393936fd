"""How tests wait: ask again until it is so, and fail when it takes too long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

# Seconds for what should be so at once. It bounds a test that fails, and costs one that passes nothing: a machine that many share
# may stand still for many seconds.
PATIENCE: Final = 60.0


async def until(
    condition: Callable[[], object] | Callable[[], Awaitable[object]],
    *,
    patience: float = PATIENCE,
    every: float = 0.005,
    what: str = "it did not come true in time",
) -> None:
    """Return once `condition` holds; it may be a coroutine function. It is asked again `every` so many seconds.

    Raises AssertionError after `patience` seconds.
    """
    try:
        async with asyncio.timeout(patience):
            while True:
                answer = condition()
                if await answer if isinstance(answer, Awaitable) else answer:
                    return
                await asyncio.sleep(every)
    except TimeoutError:
        raise AssertionError(what) from None
