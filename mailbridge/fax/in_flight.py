"""The calls to MyFax that one loop has in flight: counted, waited for, and ended together with their loop."""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import Callable, Coroutine
from typing import Any

from mailbridge.model import Fax


def crash_site(error: BaseException) -> str:
    """Return the type of an unexpected error and where it was raised. Its text is left out: it could hold anything."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} at {frames[-1].filename}:{frames[-1].lineno}" if frames else type(error).__name__


class InFlightCalls:
    """Tasks by the id of their fax. `log_crash` logs, by that id, what a task raises.

    `starting` is held while the store is asked which calls to start, until they are: `drain` waits for them too.
    """

    def __init__(self, log_crash: Callable[[str, BaseException], None]) -> None:
        self._log_crash, self.starting = log_crash, asyncio.Lock()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._accounts: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, fax_id: object) -> bool:
        return fax_id in self._tasks

    def count(self, account: str) -> int:
        """Return how many calls of one account are in flight."""
        return sum(name == account for name in self._accounts.values())

    def start(self, fax: Fax, call: Coroutine[Any, Any, None]) -> None:
        """Start a call for a fax that has none in flight."""
        self._accounts[fax.id] = fax.account
        self._tasks[fax.id] = asyncio.create_task(call, name=fax.id)
        self._tasks[fax.id].add_done_callback(self._remove)

    def _remove(self, task: asyncio.Task[None]) -> None:
        fax_id = task.get_name()
        del self._tasks[fax_id], self._accounts[fax_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log_crash(fax_id, error)

    async def wait(self, wakeup: asyncio.Event, seconds: float) -> None:
        """Return when a call ends, when `wakeup` is set, or after `seconds`."""
        woken = asyncio.create_task(wakeup.wait())
        try:
            await asyncio.wait({woken, *self._tasks.values()}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()

    async def drain(self, timeout: float) -> None:
        """Wait at most `timeout` seconds for the calls in flight, and those that are about to start."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                async with self.starting:
                    pass
                if self._tasks:
                    await asyncio.wait(set(self._tasks.values()))

    async def cancel(self) -> None:
        """Cancel every call in flight."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
