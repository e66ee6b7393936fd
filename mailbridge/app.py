"""Assembly: a configuration becomes services, wired by hand, in one TaskGroup."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any, get_args
from zoneinfo import ZoneInfo

from mailbridge import log
from mailbridge.clock import Clock
from mailbridge.config import Config, host_port
from mailbridge.control.commands import bind
from mailbridge.control.server import ControlService
from mailbridge.control.socket_path import socket_path
from mailbridge.errors import ConfigError, StoreUnavailable
from mailbridge.fax.poller import Poller
from mailbridge.fax.uploader import Uploader, recover
from mailbridge.model import ErrorCode, Event
from mailbridge.myfax import MyFax
from mailbridge.report.document_download import Documents
from mailbridge.report.listing import Kind, Listing
from mailbridge.report.oauth import Tokens
from mailbridge.report.watcher import Watcher
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

# Of the 30 s that a stop may take, what is under way gets most, and closing the rest.
GRACE = 25.0
# Seconds for a command that has the state_dir for itself while no daemon runs.
_PATIENCE = 3.0
# How often the clock is looked at.
_CLOCK_SECONDS = 1.0


@asynccontextmanager
async def open_store(config: Config, patience: float = 0.0) -> AsyncIterator[SqliteStore]:
    """Open the store that the configuration names, for this process alone. Raises StateLocked, SchemaTooNew, StoreUnavailable."""
    async with SqliteStore(config.state_dir, fax_data, Routes(config.webhooks).endpoints, patience) as store:
        yield store


def migrate(config: Config) -> tuple[int, int]:
    """Migrate the database of a stopped daemon to the newest schema; return which one it had and has. Raises as `open_store`."""
    return sqlite.migrate(config.state_dir)


class Daemon:
    """Every service of one configuration. `smtp` and `http` are the addresses it listens on, once it is ready.

    `catch_up`: at a mailbox's first start, take also the mails that are there already.
    """

    def __init__(
        self, config: Config, environ: Mapping[str, str], sockets: Sequence[socket.socket] = (), *, catch_up: bool = False
    ) -> None:
        self._config, self._environ, self._sockets, self._catch_up = config, environ, sockets, catch_up
        self._clock = Clock()
        self.smtp: list[tuple[str, int]] = []
        self.http: tuple[str, int] = ("", 0)

    async def run(self, stop: asyncio.Event, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until `stop` is set; `ready` is called once mail is taken in. Ends within 30 s of the stop.

        Raises StateLocked, SchemaTooNew, StoreUnavailable at the start; where it cannot listen, ConfigError or ControlError in a
        group.
        """
        async with AsyncExitStack() as stack:
            store = await stack.enter_async_context(open_store(self._config, _PATIENCE))
            await store.run(lambda tx: tx.lose_deliveries(self._clock()))
            await log_removed_endpoints(store, self._config.webhooks)
            await recover(store, self._clock, self._config.fax.on_doubt)
            spool = Spool(self._config.state_dir / "spool")
            await orphans.sweep(store, spool, self._clock(), store.made_at)
            clients = {name: await stack.enter_async_context(self._client(name)) for name in self._config.accounts}
            documents = await stack.enter_async_context(Documents(self._config.myfax.url, self._config.myfax.timeout))
            letter_reader = LetterReader(spool.root, self._config.fax.page)
            await letter_reader.start()
            stack.push_async_callback(letter_reader.stop)
            listings = self._listings(store, spool, clients, documents)
            await self._serve(store, spool, clients, letter_reader, listings, stop, ready)

    async def _serve(
        self,
        store: SqliteStore,
        spool: Spool,
        clients: Mapping[str, MyFax],
        letter_reader: LetterReader,
        listings: Sequence[Listing],
        stop: asyncio.Event,
        ready: Callable[[], None],
    ) -> None:
        links = self._links()
        uploaders = self._uploaders(store, spool, clients)
        dispatchers = self._dispatchers(store, spool, links)
        watchers = self._watchers(store, spool)
        poller = Poller(clients, self._config.fax, store, self._clock, random.random)
        smtp = SmtpService(self._config, store, spool, letter_reader, self._clock, self._sockets)
        app = build(store, spool, links, _checks(store, spool, watchers), self._clock)
        web = WebService(*host_port(self._config.http.listen), app)
        control = self._control(store, smtp)
        loops: list[Coroutine[Any, Any, None]] = [
            *(uploader.run() for uploader in uploaders),
            poller.run(),
            *(dispatcher.run() for dispatcher in dispatchers),
            *(watcher.run() for watcher in watchers),
            *(listing.run() for listing in listings),
            _mind_the_clock(store, self._clock),
            Retention(self._config.retention.documents, self._config.retention.records, store, spool, self._clock).run(),
        ]
        async with asyncio.TaskGroup() as group, AsyncExitStack() as listeners:
            running = [group.create_task(loop) for loop in loops]
            listeners.callback(_cancel, running)
            await control.start()
            listeners.push_async_callback(control.stop)
            self.http = await _listen(web, self._config.http.listen)
            listeners.push_async_callback(web.stop)
            self.smtp = await smtp.start()
            ready()
            await stop.wait()
            await asyncio.gather(smtp.stop(GRACE), *(uploader.drain(GRACE) for uploader in uploaders))

    def _control(self, store: SqliteStore, smtp: SmtpService) -> ControlService:
        local = LocalSubmission(smtp.acceptance, self._config.smtp.domains[0], self._config.smtp.max_size)
        commands = {**bind(store, self._clock), "send": local.send}
        return ControlService(socket_path(self._config.state_dir, self._environ), commands)

    def _client(self, account: str) -> MyFax:
        login, myfax = self._config.accounts[account], self._config.myfax
        return MyFax(login.email, login.password, myfax.url, myfax.timeout, ZoneInfo(self._config.timezone))

    def _uploaders(self, store: SqliteStore, spool: Spool, clients: Mapping[str, MyFax]) -> list[Uploader]:
        return [
            Uploader(name, account, self._config.fax, clients[name], store, spool, self._clock, random.random)
            for name, account in self._config.accounts.items()
        ]

    def _links(self) -> Links:
        http, kept = self._config.http, timedelta(seconds=self._config.retention.documents)
        key = load_or_create_key(self._config.state_dir / "link.key")
        return Links(key, http.public_url or f"http://{http.listen}", min(TTL, kept))

    def _dispatchers(self, store: SqliteStore, spool: Spool, links: Links) -> list[Dispatcher]:
        def read(path: str) -> bytes:
            return spool.path(path).read_bytes()

        def renderer(name: str) -> Callable[[Event], bytes]:
            wanted = self._config.webhooks[name]

            def render(event: Event) -> bytes:
                link = partial(links.link, now=self._clock())
                return body(event, wanted.document, link=link, read=read, inline_limit=wanted.inline_limit)

            return render

        return [
            Dispatcher(name, webhook, store, self._clock, random.random, renderer(name))
            for name, webhook in self._config.webhooks.items()
        ]

    def _watchers(self, store: SqliteStore, spool: Spool) -> list[Watcher]:
        zone, region, redial = ZoneInfo(self._config.timezone), self._config.smtp.region, self._config.fax.redial.times
        # While redialling is on, a report of busy or no answer only makes the poller ask: it alone knows how often to dial.
        ask_first: frozenset[ErrorCode] = frozenset(("busy", "no_answer")) if redial else frozenset()
        asked: dict[str, datetime] = {}
        return [
            Watcher(
                name,
                mailbox,
                mailbox.account or self._config.default_account,
                store,
                spool,
                self._clock,
                random.random,
                zone=zone,
                region=region,
                catch_up=self._catch_up,
                tokens=Tokens(name, mailbox.oauth2, self._config.state_dir, self._clock) if mailbox.oauth2 else None,
                ask_first=ask_first,
                asked=asked,
            )
            for name, mailbox in self._config.mailboxes.items()
        ]

    def _listings(self, store: SqliteStore, spool: Spool, clients: Mapping[str, MyFax], documents: Documents) -> list[Listing]:
        """One for the voicemails of each account, and one for the faxes of each that has a mailbox, or of each where none is.

        An account beside those may have its faxes mailed to a mailbox of another's, and they would be told twice.
        """
        every, zone = self._config.incoming.every, ZoneInfo(self._config.timezone)
        backed = {mailbox.account or self._config.default_account for mailbox in self._config.mailboxes.values()}
        return [
            Listing(
                account,
                kind,
                every,
                clients[account],
                documents,
                store,
                spool,
                self._clock,
                random.random,
                zone=zone,
                region=self._config.smtp.region,
            )
            for account in self._config.accounts
            for kind in get_args(Kind)
            if every is not None and (kind == "voice" or account in backed or not backed)
        ]


async def _listen(web: WebService, address: str) -> tuple[str, int]:
    try:
        return await web.start()
    except OSError as error:
        fault = f"cannot listen on {address} ({os.strerror(error.errno or 0)})"
        raise ConfigError("http.listen", fault, "free the port or choose another") from None


async def _mind_the_clock(store: Store, clock: Clock) -> None:
    """Move every deadline along with a clock that was set, before anything else sees its new time."""
    while True:
        await asyncio.sleep(_CLOCK_SECONDS)
        if jump := clock.jump:
            try:
                moved = await store.run(lambda tx: tx.shift(jump, clock()))
            except StoreUnavailable as error:
                log.store_unavailable("clock", error=str(error))
                continue
            clock.believe(jump)
            log.clock_jumped("clock", by=str(jump), moved=moved)


def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()


def _checks(store: SqliteStore, spool: Spool, watchers: list[Watcher]) -> dict[str, Check]:
    async def writable() -> bool:
        await store.run(lambda tx: None)
        return store.healthy and await asyncio.to_thread(spool.prove)

    async def connected(watcher: Watcher) -> bool:
        return watcher.connected

    return {"store": writable, **{f"mailbox {watcher.name}": partial(connected, watcher) for watcher in watchers}}
