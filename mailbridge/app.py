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
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol, get_args
from zoneinfo import ZoneInfo

from starlette.types import ASGIApp

from mailbridge import log
from mailbridge.clock import Clock
from mailbridge.config import Config, Webhook, host_port
from mailbridge.control.commands import bind
from mailbridge.control.server import ControlService
from mailbridge.control.socket_path import socket_path
from mailbridge.errors import ConfigError, StoreUnavailable
from mailbridge.fax.poller import Poller
from mailbridge.fax.uploader import Uploader, recover_interrupted
from mailbridge.model import ErrorCode, Event
from mailbridge.myfax import MyFax
from mailbridge.phone.number import load_plans
from mailbridge.report.document_download import Documents
from mailbridge.report.listing import Listing
from mailbridge.report.listing_recorder import Kind, ListingOptions
from mailbridge.report.oauth import Tokens
from mailbridge.report.poll_requests import PollRequests
from mailbridge.report.watcher import Watcher
from mailbridge.report.watcher_options import WatcherOptions
from mailbridge.runtime import Runtime
from mailbridge.store import orphans, sqlite
from mailbridge.store.interface import Store
from mailbridge.store.retention import Retention
from mailbridge.store.spool import Spool
from mailbridge.store.sqlite import SqliteStore
from mailbridge.submission.letter_reader import LetterReader
from mailbridge.submission.local_submission import LocalSubmission
from mailbridge.submission.server import SmtpService
from mailbridge.web.app import Check, build
from mailbridge.web.links import TTL, Links, load_or_create_key
from mailbridge.web.server import WebService
from mailbridge.webhook.dispatcher import Dispatcher
from mailbridge.webhook.payload import body, fax_data
from mailbridge.webhook.removed_endpoints import log_removed_endpoints
from mailbridge.webhook.routing import Routes

# Seconds that mails and uploads in progress get to finish. A stop must end within 30 s; the rest is for closing everything else.
GRACE = 25.0
# Seconds to wait for a command that holds the lock of the state_dir while no daemon runs.
_LOCK_TIMEOUT = 3.0
_CHECKS_AFTER_JUMP = 5
_CLOCK_CHECK_SECONDS = 1.0


@asynccontextmanager
async def open_store(config: Config, patience: float = 0.0) -> AsyncIterator[SqliteStore]:
    """Open the store that the configuration names, for this process alone.

    `patience` is how many seconds to wait for its lock. Raises StateLocked, SchemaTooNew, StoreUnavailable.
    """
    async with SqliteStore(config.state_dir, fax_data, Routes(config.webhooks).endpoints, patience) as store:
        yield store


def migrate(config: Config) -> tuple[int, int]:
    """Migrate the database of a stopped daemon to the newest schema; return its version before and after.

    Raises StateLocked, SchemaTooNew, StoreUnavailable.
    """
    return sqlite.migrate(config.state_dir)


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
            clients = {name: await stack.enter_async_context(_client(self._config, name)) for name in self._config.accounts}
            documents = await stack.enter_async_context(Documents(self._config.myfax.url, self._config.myfax.timeout))
            letter_reader = await self._start_letter_reader(stack, runtime.spool)

            links, assembly = document_links(self._config), Assembly(self._config, runtime, clients)
            uploaders, watchers = assembly.uploaders(), assembly.watchers(self._catch_up)
            services: list[_Service] = [*uploaders, assembly.poller(), *assembly.dispatchers(links), *watchers]
            services += [*assembly.listings(documents), assembly.retention()]
            smtp = SmtpService(self._config, runtime, letter_reader, self._sockets)
            web = build(store, runtime.spool, links, _health_checks(store, runtime.spool, watchers), self._clock)

            group = await stack.enter_async_context(asyncio.TaskGroup())
            running = [group.create_task(service.run()) for service in services]
            running.append(group.create_task(_follow_clock_jumps(store, self._clock)))
            stack.callback(_cancel, running)
            await self._open_control_socket(stack, runtime, smtp)
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
        letter_reader = LetterReader(spool.root, self._config.fax.page)
        await letter_reader.start()
        stack.push_async_callback(letter_reader.stop)
        return letter_reader

    async def _open_control_socket(self, stack: AsyncExitStack, runtime: Runtime, smtp: SmtpService) -> None:
        local = LocalSubmission(smtp.admission, smtp.acceptance, self._config.smtp.domains[0], self._config.smtp.max_size)
        commands = {**bind(runtime.store, self._clock), "send": local.send}
        control = ControlService(socket_path(self._config.state_dir, self._environ), commands)
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


class Assembly:
    """Builds the services that run in the background. `clients` has one MyFax client for each account."""

    def __init__(self, config: Config, runtime: Runtime, clients: Mapping[str, MyFax]) -> None:
        self._config, self._runtime, self._clients = config, runtime, clients
        self._zone, self._region = ZoneInfo(config.timezone), config.smtp.region

    def uploaders(self) -> list[Uploader]:
        """One for each account."""
        return [
            Uploader(name, account, self._clients[name], self._config.fax, self._runtime)
            for name, account in self._config.accounts.items()
        ]

    def poller(self) -> Poller:
        """One for all accounts."""
        return Poller(self._clients, self._config.fax, self._runtime)

    def dispatchers(self, links: Links) -> list[Dispatcher]:
        """One for each webhook."""
        return [
            Dispatcher(name, webhook, self._runtime, self._renderer(webhook, links))
            for name, webhook in self._config.webhooks.items()
        ]

    def _renderer(self, webhook: Webhook, links: Links) -> Callable[[Event], bytes]:
        spool, clock = self._runtime.spool, self._runtime.clock

        def read(path: str) -> bytes:
            return spool.path(path).read_bytes()

        def render(event: Event) -> bytes:
            link = partial(links.link, now=clock())
            return body(event, webhook.document, link=link, read=read, inline_limit=webhook.inline_limit)

        return render

    def watchers(self, catch_up: bool) -> list[Watcher]:
        """One for each mailbox; `catch_up` as in `Daemon`."""
        # While redialling is on, a report of busy or no answer only triggers a status poll: the poller counts the dials.
        poll_first: frozenset[ErrorCode] = frozenset(("busy", "no_answer")) if self._config.fax.redial.times else frozenset()
        poll_requests = PollRequests()
        return [
            Watcher(
                WatcherOptions(
                    name=name,
                    mailbox=mailbox,
                    account=mailbox.account or self._config.default_account,
                    zone=self._zone,
                    region=self._region,
                    catch_up=catch_up,
                    poll_first=poll_first,
                ),
                self._runtime,
                poll_requests,
                Tokens(name, mailbox.oauth2, self._config.state_dir, self._runtime.clock) if mailbox.oauth2 else None,
            )
            for name, mailbox in self._config.mailboxes.items()
        ]

    def listings(self, documents: Documents) -> list[Listing]:
        """One for each account's voicemails, and one for each account's faxes unless its faxes may reach an unrelated mailbox.

        Without any mailbox, every account's faxes are listed. With mailboxes, only the accounts that have one are: another
        account's faxes may be mailed to one of these mailboxes too, and would be reported twice.
        """
        every = self._config.incoming.every
        with_mailbox = {mailbox.account or self._config.default_account for mailbox in self._config.mailboxes.values()}
        return [
            Listing(
                ListingOptions(account=account, kind=kind, every=every, zone=self._zone, region=self._region),
                self._clients[account],
                documents,
                self._runtime,
            )
            for account in self._config.accounts
            for kind in get_args(Kind)
            if every is not None and (kind == "voice" or account in with_mailbox or not with_mailbox)
        ]

    def retention(self) -> Retention:
        """One for the whole store."""
        kept, runtime = self._config.retention, self._runtime
        return Retention(kept.documents, kept.records, runtime.store, runtime.spool, runtime.clock)


def _client(config: Config, account: str) -> MyFax:
    login, myfax = config.accounts[account], config.myfax
    return MyFax(login.email, login.password, myfax.url, myfax.timeout, ZoneInfo(config.timezone))


def document_links(config: Config) -> Links:
    """Return the maker of document links. A link never outlives its document. Raises OSError where its key cannot be kept."""
    key = load_or_create_key(config.state_dir / "link.key")
    kept = timedelta(seconds=config.retention.documents)
    return Links(key, config.http.public_url or f"http://{config.http.listen}", min(TTL, kept))


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
