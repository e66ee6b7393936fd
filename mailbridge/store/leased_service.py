"""A service that one node at a time runs, such as the watch of a mailbox: the node that has its lease."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from mailbridge import log
from mailbridge.errors import StoreUnavailable

# Seconds between attempts to take a lease, and between questions whether it is still there.
_EVERY: Final = 5.0


class Leases(Protocol):
    """The leases of one node. Both methods block, and raise StoreUnavailable."""

    def take(self, name: str) -> bool:
        """Take a lease, unless another node that works has it; return whether this node has it now."""

    def give_back(self, name: str) -> None:
        """Give a lease back, so that another node can take it at once."""

    def check_lease(self) -> None:
        """Raise StoreUnavailable if others may think that this node has ended: its leases may be theirs."""


class LeasedService:
    """Runs `service` while this node has the lease `name`, and again each time that it gets it, until cancelled."""

    def __init__(self, name: str, service: Callable[[], Awaitable[None]], leases: Leases) -> None:
        self._name, self._service, self._leases = name, service, leases

    async def run(self) -> None:
        """Wait for the lease, run the service, and end it when the lease is lost."""
        while True:
            if await self._has_lease():
                try:
                    await self._run_while_leased()
                finally:
                    with contextlib.suppress(StoreUnavailable):  # it ends with this node
                        await asyncio.to_thread(self._leases.give_back, self._name)
            await asyncio.sleep(_EVERY)

    async def _run_while_leased(self) -> None:
        service = asyncio.ensure_future(self._service())
        try:
            while not service.done() and await self._has_lease(or_had=True):
                await asyncio.wait({service}, timeout=_EVERY)
            if service.done():
                service.result()
        finally:
            service.cancel()
            await asyncio.gather(service, return_exceptions=True)

    async def _has_lease(self, *, or_had: bool = False) -> bool:
        """Return whether this node has the lease; with `or_had` also if it had it and the database cannot be asked yet."""
        try:
            return await asyncio.to_thread(self._leases.take, self._name)
        except StoreUnavailable as error:
            log.store_unavailable(self._name, error=str(error))
        with contextlib.suppress(StoreUnavailable):
            self._leases.check_lease()
            return or_had
        return False
