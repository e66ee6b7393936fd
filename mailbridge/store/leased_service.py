"""A service that one node at a time runs, such as the watch of a mailbox: the node that has its lease."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from mailbridge import log
from mailbridge.store.node import Leases

# Seconds between looks whether the lease is still there; a change is noted at once.
_EVERY: Final = 1.0
# Seconds after which a service that cannot work here is left to another node, and for which that has it for itself.
_STRUGGLE: Final = 60.0
_REST: Final = 30.0


class LeasedService:
    """Runs `service` while this node has the lease `name`, and again each time that it gets it, until cancelled.

    While `struggles` is true the service cannot work, as when this node does not reach a server: after a minute of that, another
    node may try. It wants the lease from now on. Where it is not run, it must be given up. A coroutine of an event loop makes it.
    """

    def __init__(
        self, name: str, service: Callable[[], Awaitable[None]], leases: Leases, struggles: Callable[[], bool] = lambda: False
    ) -> None:
        self._name, self._service, self._leases, self._struggles = name, service, leases, struggles
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._struggles_since: float | None = None
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
                    if self._is_for_others():
                        await self._rest()
                else:
                    await self._wait()
        finally:
            self.give_up()

    async def _wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), _EVERY)

    async def _rest(self) -> None:
        """Let another node have the lease for a while, as long as there is one."""
        self._struggles_since = None
        self._leases.give_back(self._name)
        end = self._loop.time() + _REST
        try:
            while self._loop.time() < end and self._leases.has_others():
                self._changed.clear()
                await self._wait()
        finally:
            self._leases.want(self._name, self._note_change)

    def _is_for_others(self) -> bool:
        """Whether the service has not been able to work here for so long that another node should try."""
        now = self._loop.time()
        if not self._struggles():
            self._struggles_since = None
            return False
        self._struggles_since = now if self._struggles_since is None else self._struggles_since
        return now - self._struggles_since >= _STRUGGLE and self._leases.has_others()

    async def _run_while_leased(self) -> None:
        service = asyncio.ensure_future(self._service())
        changed = asyncio.ensure_future(self._changed.wait())
        try:
            while not service.done() and self._leases.has(self._name) and not self._is_for_others():
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
