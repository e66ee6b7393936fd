"""A service that one node at a time runs, such as the watch of a mailbox: the node that has its lease."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from mailbridge import log
from mailbridge.store.node import Leases

# Seconds between questions whether the lease is still there; a change is told at once.
_EVERY: Final = 1.0


class LeasedService:
    """Runs `service` while this node has the lease `name`, and again each time that it gets it, until cancelled.

    It wants the lease from now on. Where it is not run, it must be given up. A coroutine of an event loop makes it.
    """

    def __init__(self, name: str, service: Callable[[], Awaitable[None]], leases: Leases) -> None:
        self._name, self._service, self._leases = name, service, leases
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        leases.want(name, self._note_change)

    def _note_change(self) -> None:
        self._loop.call_soon_threadsafe(self._changed.set)

    def give_up(self) -> None:
        """Want the lease no longer."""
        self._leases.give_back(self._name)

    async def run(self) -> None:
        """Wait for the lease, run the service, and end it when the lease is lost."""
        try:
            while True:
                self._changed.clear()
                if self._leases.has(self._name):
                    log.lease_taken(self._name)
                    await self._run_while_leased()
                    log.lease_ended(self._name)
                else:
                    await self._wait()
        finally:
            self.give_up()

    async def _wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), _EVERY)

    async def _run_while_leased(self) -> None:
        service = asyncio.ensure_future(self._service())
        changed = asyncio.ensure_future(self._changed.wait())
        try:
            while not service.done() and self._leases.has(self._name):
                await asyncio.wait({service, changed}, timeout=_EVERY, return_when=asyncio.FIRST_COMPLETED)
                if changed.done():
                    self._changed.clear()
                    changed = asyncio.ensure_future(self._changed.wait())
            if service.done():
                service.result()
        finally:
            service.cancel()
            changed.cancel()
            await asyncio.gather(service, changed, return_exceptions=True)
