"""The calls to MyFax that a loop has under way: none is forgotten, each error is logged, and all end with their loop."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Coroutine
from typing import Any

from mailbridge import log
from mailbridge.model import Fax


def where(error: BaseException) -> str:
    """Return what an unforeseen error is and where it was raised; its text could hold anything, so it is left out."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} at {frames[-1].filename}:{frames[-1].lineno}" if frames else type(error).__name__


class InFlightCalls:
    """Tasks by the id of their fax."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._accounts: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, fax_id: object) -> bool:
        return fax_id in self._tasks

    def of(self, account: str) -> int:
        """Return how many calls of one account are under way."""
        return sum(name == account for name in self._accounts.values())

    def start(self, fax: Fax, call: Coroutine[Any, Any, None]) -> None:
        """Begin a call for a fax that has none under way."""
        self._accounts[fax.id] = fax.account
        self._tasks[fax.id] = asyncio.create_task(call, name=fax.id)
        self._tasks[fax.id].add_done_callback(self._landed)

    def _landed(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task.get_name()], self._accounts[task.get_name()]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.call_crashed(task.get_name(), error=where(error))

    async def wake(self, wakeup: asyncio.Event, seconds: float) -> None:
        """Return when a call ends, the wakeup rings, or `seconds` are over."""
        woken = asyncio.create_task(wakeup.wait())
        try:
            await asyncio.wait({woken, *self._tasks.values()}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()

    async def drain(self, timeout: float) -> None:
        """Wait at most `timeout` seconds for what is under way."""
        if self._tasks:
            await asyncio.wait(set(self._tasks.values()), timeout=timeout)

    async def cancel(self) -> None:
        """Break off what is under way."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
