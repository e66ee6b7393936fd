"""Assembly: builds every service of one configuration by hand and runs them together until the daemon stops.

Read `Daemon.run` first: everything starts in the order of its lines, and its exit stack stops everything in the reverse order.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Protocol

from starlette.types import ASGIApp

from mailbridge import log
from mailbridge.assembly import Assembly, document_links, myfax_client
from mailbridge.clock import Clock
from mailbridge.config import Config, host_port
from mailbridge.control.commands import bind
from mailbridge.control.server import ControlService
from mailbridge.control.socket_path import socket_path
from mailbridge.errors import ConfigError, StoreUnavailable
from mailbridge.fax.uploader import recover_interrupted
from mailbridge.phone.number import load_plans
from mailbridge.report.document_download import Documents
from mailbridge.report.watcher import Watcher
from mailbridge.runtime import Runtime
from mailbridge.store import orphans, restoration, sqlite
from mailbridge.store.interface import Store
from mailbridge.store.retention import Retention
from mailbridge.store.spool import Spool
from mailbridge.store.sqlite import SqliteStore
from mailbridge.submission.letter_reader import LetterReader
from mailbridge.submission.local_submission import LocalSubmission
from mailbridge.submission.sandbox import missing_parts
from mailbridge.submission.server import SmtpService
from mailbridge.web.app import Check, build
from mailbridge.web.server import WebService
from mailbridge.webhook.payload import fax_data
from mailbridge.webhook.removed_endpoints import log_removed_endpoints
from mailbridge.webhook.routing import Routes

# Seconds that mails and uploads in progress get to finish. A stop must end within 30 s; the rest is for closing everything else.
GRACE = 25.0
# Seconds to wait for a command that holds the lock of the state_dir while no daemon runs.
_LOCK_TIMEOUT = 3.0
_CHECKS_AFTER_JUMP = 5
_CLOCK_CHECK_SECONDS = 1.0


@asynccontextmanager
async def open_store(config: Config, patience: float = 0.0, *, restoring: bool = False) -> AsyncIterator[SqliteStore]:
    """Open the store that the configuration names, for this process alone.

    `patience` is how many seconds to wait for its lock; `restoring` opens it also while a backup is being restored into it.
    Raises StateLocked, RestoreUnfinished, SchemaTooNew, StoreUnavailable.
    """
    route = Routes(config.webhooks).endpoints
    async with SqliteStore(config.state_dir, fax_data, route, patience, restoring=restoring) as store:
        yield store


def migrate(config: Config) -> tuple[int, int]:
    """Migrate the database of a stopped daemon to the newest schema; return its version before and after.

    Raises StateLocked, SchemaTooNew, StoreUnavailable.
    """
    return sqlite.migrate(config.state_dir)


async def restore(backup: Path, config: Config) -> list[str]:
    """Restore a backup into the state_dir of the configuration; return the faxes that are in doubt now.

    Raises StateLocked, SchemaTooNew, StoreUnavailable.
    """
    await asyncio.to_thread(restoration.restore_files, backup, config.state_dir)
    async with open_store(config, restoring=True) as store:
        held = await restoration.hold_unsent(store, Clock()())
    await asyncio.to_thread(restoration.finish, config.state_dir)
    return held


class _Service(Protocol):
    async def run(self) -> None:
        """Work until cancelled."""


class Daemon:
    """Every service of one configuration.

    `environ` locates the control socket; `sockets` are listening SMTP sockets handed over by systemd. With `catch_up` a mailbox's
    first start also reads the mails already in it. `smtp` and `http` are the addresses served, set once the daemon is ready.
    """

    def __init__(
        self, config: Config, environ: Mapping[str, str], sockets: Sequence[socket.socket] = (), *, catch_up: bool = False
    ) -> None:
        self._config, self._environ, self._sockets, self._catch_up = config, environ, sockets, catch_up
        self._clock = Clock()
        self.smtp: list[tuple[str, int]] = []
        self.http: tuple[str, int] = ("", 0)

    async def run(self, stop: asyncio.Event, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until `stop` is set; call `ready` once mail is accepted. Ends within 30 s of `stop`.

        Raises StateLocked, SchemaTooNew, StoreUnavailable at the start. An address that it cannot listen on raises ConfigError
        or ControlError in an exception group.
        """
        load_plans()
        async with AsyncExitStack() as stack:
            store = await stack.enter_async_context(open_store(self._config, _LOCK_TIMEOUT))
            runtime = Runtime(store, Spool(self._config.state_dir / "spool"), self._clock, random.random)
            await self._recover(runtime, store.created_at)
            clients = {name: await stack.enter_async_context(myfax_client(self._config, name)) for name in self._config.accounts}
            documents = await stack.enter_async_context(Documents(self._config.myfax.url, self._config.myfax.timeout))
            letter_reader = await self._start_letter_reader(stack, runtime.spool)

            links, assembly = document_links(self._config), Assembly(self._config, runtime, clients)
            uploaders, watchers = assembly.uploaders(), assembly.watchers(self._catch_up)
            services: list[_Service] = [*uploaders, assembly.poller(), *assembly.dispatchers(links), *watchers]
            retention = assembly.retention()
            services += [*assembly.listings(documents), retention]
            smtp = SmtpService(self._config, runtime, letter_reader, self._sockets)
            web = build(store, runtime.spool, links, _health_checks(store, runtime.spool, watchers), self._clock)

            group = await stack.enter_async_context(asyncio.TaskGroup())
            running = [group.create_task(service.run()) for service in services]
            running.append(group.create_task(_follow_clock_jumps(store, self._clock)))
            stack.callback(_cancel, running)
            await self._open_control_socket(stack, runtime, smtp, retention, letter_reader.is_worker)
            await self._open_http(stack, web)
            self.smtp = await smtp.start()
            ready()
            await stop.wait()
            await asyncio.gather(smtp.stop(GRACE), *(uploader.drain(GRACE) for uploader in uploaders))

    async def _recover(self, runtime: Runtime, database_created_at: datetime | None) -> None:
        """Settle what an earlier run left unfinished, before anything new starts."""
        await runtime.store.run(lambda tx: tx.deliveries.requeue_interrupted())
        await log_removed_endpoints(runtime.store, self._config.webhooks)
        await recover_interrupted(runtime, self._config.fax.on_doubt)
        await orphans.sweep(runtime.store, runtime.spool, self._clock(), database_created_at)

    async def _start_letter_reader(self, stack: AsyncExitStack, spool: Spool) -> LetterReader:
        if missing := missing_parts():
            log.sandbox_incomplete("daemon", missing=missing)
        letter_reader = LetterReader(spool.root, self._config.fax.page)
        await letter_reader.start()
        stack.push_async_callback(letter_reader.stop)
        return letter_reader

    async def _open_control_socket(
        self,
        stack: AsyncExitStack,
        runtime: Runtime,
        smtp: SmtpService,
        retention: Retention,
        is_worker: Callable[[int], bool],
    ) -> None:
        local = LocalSubmission(smtp.admission, smtp.acceptance, self._config.smtp.domains[0], self._config.smtp.max_size)
        commands = {**bind(runtime.store, self._clock), "send": local.send, "hold_retention": retention.hold}
        control = ControlService(socket_path(self._config.state_dir, self._environ), commands, is_worker)
        await control.start()
        stack.push_async_callback(control.stop)

    async def _open_http(self, stack: AsyncExitStack, app: ASGIApp) -> None:
        address = self._config.http.listen
        web = WebService(*host_port(address), app)
        try:
            self.http = await web.start()
        except OSError as error:
            fault = f"cannot listen on {address} ({os.strerror(error.errno or 0)})"
            raise ConfigError("http.listen", fault, "free the port or choose another") from None
        stack.push_async_callback(web.stop)


async def _follow_clock_jumps(store: Store, clock: Clock) -> None:
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


def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()


def _health_checks(store: SqliteStore, spool: Spool, watchers: list[Watcher]) -> dict[str, Check]:
    async def writable() -> bool:
        await store.run(lambda tx: None)
        return store.healthy and await asyncio.to_thread(spool.probe)

    async def connected(watcher: Watcher) -> bool:
        return watcher.connected

    return {"store": writable, **{f"mailbox {watcher.name}": partial(connected, watcher) for watcher in watchers}}
