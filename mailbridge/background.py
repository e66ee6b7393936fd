"""The services in the background, the clients that they call MyFax with, and the clock: what a daemon runs beside its servers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, TypeVar

from mailbridge import log
from mailbridge.assembly import Part, Service, myfax_client
from mailbridge.clock import Clock
from mailbridge.config import Config
from mailbridge.errors import ControlError, StoreUnavailable
from mailbridge.fax.interrupted_uploads import recover_interrupted
from mailbridge.fax.outcome import OnDoubt
from mailbridge.fax.uploader import Uploader
from mailbridge.myfax import MyFax
from mailbridge.report.document_download import Documents
from mailbridge.report.watcher import Watcher
from mailbridge.runtime import Runtime
from mailbridge.store.interface import Store
from mailbridge.store.leased_service import LeasedService
from mailbridge.store.node import Leases

T = TypeVar("T")
# Seconds that uploads under way get when their account's configuration changes, less than a reload's client waits.
_DRAIN = 20.0
# Seconds until a store that was unavailable is tried again.
_STORE_PAUSE = 1.0
_CHECKS_AFTER_JUMP = 5
_CLOCK_CHECK_SECONDS = 1.0
# Seconds between looks for the work of nodes that have ended.
_TAKE_OVER_SECONDS = 5.0


class Background:
    """The services that run in the task group of a daemon. With `leases`, one that needs a lease runs while this node has it."""

    def __init__(self, group: asyncio.TaskGroup, runtime: Runtime, leases: Leases | None = None) -> None:
        self._group, self._runtime, self._leases = group, runtime, leases
        self._is_stopping = False
        self._parts: list[tuple[Part, asyncio.Task[None]]] = []

    def all(self, kind: type[T]) -> list[T]:
        """Return the services of this class."""
        return [part.service for part, _ in self._parts if isinstance(part.service, kind)]

    def leased(self, kind: type[T]) -> list[tuple[str, T]]:
        """Return the services of this class with the names of their leases."""
        return [(part.lease, part.service) for part, _ in self._parts if isinstance(part.service, kind)]

    def one(self, kind: type[T]) -> T:
        """Return the only service of this class."""
        [service] = self.all(kind)
        return service

    def check_not_stopping(self) -> None:
        """Raise ControlError if the daemon stops, so that no service is started any more."""
        if self._is_stopping:
            raise ControlError("the daemon is stopping")

    async def change(self, wanted: Sequence[Part], on_doubt: OnDoubt) -> None:
        """Stop the services that are not wanted, and start those that do not run yet. An upload under way gets time to finish.

        Nothing is started once the daemon stops: it would upload again, and nobody would end it.
        """
        kept = [(part, task) for part, task in self._parts if any(_same(part, other) for other in wanted)]
        removed = [(part, task) for part, task in self._parts if not any(part is other for other, _ in kept)]
        # Each wants its lease before the one that it replaces gives it back, so that no other node takes it meanwhile.
        new = [(part, self._runner(part)) for part in wanted if not any(_same(part, other) for other, _ in kept)]
        uploaders = [part.service for part, _ in removed if isinstance(part.service, Uploader)]
        await asyncio.gather(*(uploader.drain(_DRAIN) for uploader in uploaders))
        for _, task in removed:
            task.cancel()
        await asyncio.gather(*(task for _, task in removed), return_exceptions=True)
        if removed:
            await self._settle([part for part, _ in removed], on_doubt)
        if self._is_stopping:
            for runner in (one for _, one in new if isinstance(one, LeasedService)):
                runner.give_up()
            new = []
        self._parts = kept + [(part, self._group.create_task(runner.run())) for part, runner in new]

    def _runner(self, part: Part) -> Service:
        if self._leases is None or not part.lease:
            return part.service
        if isinstance(part.service, Watcher):
            return LeasedService(part.lease, part.service.run, self._leases, part.service.struggles)
        return LeasedService(part.lease, part.service.run, self._leases)

    async def _settle(self, removed: Sequence[Part], on_doubt: OnDoubt) -> None:
        """Settle what the stopped services have left unfinished."""
        accounts = {part.name for part in removed if part.kind == "uploader"}
        endpoints = {part.name for part in removed if part.kind in ("dispatcher", "notices", "folders")}
        while True:
            try:
                await self._runtime.store.run(lambda tx: tx.deliveries.requeue_interrupted(endpoints))
                await recover_interrupted(self._runtime, on_doubt, accounts)
                return
            except StoreUnavailable as error:
                log.store_unavailable("reload", error=str(error))
                await asyncio.sleep(_STORE_PAUSE)

    async def drain(self, seconds: float) -> None:
        """Start no more uploads and services, and wait at most so many seconds for the uploads under way.

        Leases are given back first, so that other nodes need not wait for them.
        """
        self._is_stopping = True
        if self._leases is not None:
            for task in (task for part, task in self._parts if part.lease):
                task.cancel()
        await asyncio.gather(*(uploader.drain(seconds) for uploader in self.all(Uploader)))

    def cancel(self) -> None:
        """Cancel every service, and start no more."""
        self._is_stopping = True
        for _, task in self._parts:
            task.cancel()


def _same(one: Part, other: Part) -> bool:
    return (one.kind, one.name, one.made_of) == (other.kind, other.name, other.made_of)


class MyFaxCalls:
    """A MyFax client for each account, and one for documents. An async context manager.

    A client whose login did not change is kept at a reload, since services that go on use it.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self.clients: dict[str, MyFax] = {}
        self._replaced = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.clients = {name: await myfax_client(self._config, name).__aenter__() for name in self._config.accounts}
        self.documents = await Documents(self._config.myfax.url, self._config.myfax.timeout).__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close_replaced()
        for client in self.clients.values():
            await client.__aexit__(None, None, None)
        await self.documents.__aexit__(None, None, None)

    async def change(self, config: Config) -> None:
        """Make the clients of another configuration. Replaced ones stay open until `close_replaced`."""
        old, self._config = self._config, config
        before, self.clients = self.clients, {}
        for name in config.accounts:
            kept = name in before and _login(old, name) == _login(config, name)
            self.clients[name] = before[name] if kept else await myfax_client(config, name).__aenter__()
        for name, client in before.items():
            if self.clients.get(name) is not client:
                self._replaced.push_async_exit(client)
        if old.myfax != config.myfax:
            self._replaced.push_async_exit(self.documents)
            self.documents = await Documents(config.myfax.url, config.myfax.timeout).__aenter__()

    async def close_replaced(self) -> None:
        """Close the clients that no service uses any more."""
        await self._replaced.aclose()
        self._replaced = contextlib.AsyncExitStack()


def _login(config: Config, name: str) -> tuple[object, ...]:
    account = config.accounts[name]
    return (account.email, account.password, config.myfax, config.timezone)


async def follow_clock_jumps(store: Store, clock: Clock) -> None:
    """When the system's clock is set, move every deadline in the store along, before any service sees the new time.

    A service may have read the old time just before, and store it just after. If the clock was set back, that work would wait as
    long; so for some seconds the work that should be due at once is pulled in.
    """
    checks = _CHECKS_AFTER_JUMP  # also at a start: the clock may have been set meanwhile
    while True:
        await asyncio.sleep(_CLOCK_CHECK_SECONDS)
        try:
            if jump := clock.jump:
                moved = await store.run(lambda tx: tx.shift_deadlines(jump, clock()))
                clock.accept_jump(jump)
                log.clock_jumped("clock", by=str(jump), moved=moved)
                checks = _CHECKS_AFTER_JUMP
            elif checks:
                await store.run(lambda tx: tx.pull_in_new_work(clock()))
                checks -= 1
        except StoreUnavailable as error:
            log.store_unavailable("clock", error=str(error))


async def take_over(runtime: Runtime, on_doubt: Callable[[], OnDoubt]) -> None:
    """Go on with what nodes have left that ended, which share the database with this one, until cancelled."""
    woken = runtime.store.subscribe("nodes")
    while True:
        woken.clear()
        try:
            await runtime.store.run(lambda tx: tx.deliveries.requeue_interrupted())
            await recover_interrupted(runtime, on_doubt())
        except StoreUnavailable as error:
            log.store_unavailable("nodes", error=str(error))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(woken.wait(), _TAKE_OVER_SECONDS)
