"""How tests wait: ask again until it is so, and fail when it takes too long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def until(
    condition: Callable[[], object] | Callable[[], Awaitable[object]],
    *,
    patience: float = 10.0,
    what: str = "it did not come true in time",
) -> None:
    """Return once `condition` holds; it may be a coroutine function. Raises AssertionError after `patience` seconds."""
    try:
        async with asyncio.timeout(patience):
            while True:
                answer = condition()
                if await answer if isinstance(answer, Awaitable) else answer:
                    return
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(what) from None
