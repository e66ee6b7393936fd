"""Assembly: builds every service of one configuration by hand and runs them together until the daemon stops.

Read `Daemon.run` first: everything starts in the order of its lines, and its exit stack stops everything in the reverse order.
`Daemon.reload` changes the configuration of all this in place.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from functools import partial

from starlette.types import ASGIApp

from mailbridge import log
from mailbridge.answer_limits import limit_answers
from mailbridge.assembly import Assembly, Part, document_links, link_renderer
from mailbridge.background import Background, MyFaxCalls, follow_clock_jumps, take_over
from mailbridge.clock import Clock
from mailbridge.config import Config
from mailbridge.config.model import RESERVED_ENDPOINTS
from mailbridge.control.commands import bind
from mailbridge.control.server import Command, ControlService
from mailbridge.control.socket_path import socket_path
from mailbridge.errors import ConfigError
from mailbridge.fax.interrupted_uploads import recover_interrupted
from mailbridge.http_assembly import console_app, http_listener, open_http, renew_certificate
from mailbridge.notice.assembly import confirmation_of
from mailbridge.notice.planner import Planner
from mailbridge.phone.number import load_plans
from mailbridge.preload import load_modules
from mailbridge.report.watcher import Watcher
from mailbridge.runtime import Runtime
from mailbridge.store import spools
from mailbridge.store.retention import Retention
from mailbridge.store.spool import Spool
from mailbridge.store.sql_store import SqlStore
from mailbridge.stores import ConfiguredRoute, open_for_daemon
from mailbridge.submission.drafts import Drafts
from mailbridge.submission.letter_reader import LetterReader
from mailbridge.submission.local_submission import LocalSubmission
from mailbridge.submission.page_pictures import PagePictures
from mailbridge.submission.sandbox import missing_parts
from mailbridge.submission.server import SmtpService
from mailbridge.submission.shared_drafts import SharedDrafts
from mailbridge.watched_mailboxes import WatchedMailboxes
from mailbridge.web.app import Check, build
from mailbridge.web.link_key import load_link_key
from mailbridge.web.links import Links
from mailbridge.web.metrics import Facts
from mailbridge.web.server import WebService
from mailbridge.web.shared_probe import SharedProbe
from mailbridge.webhook.removed_endpoints import log_removed_endpoints
from mailbridge.webhook.routing import Routes

# Seconds that mails and uploads in progress get to finish. A stop must end within 30 s; the rest is for closing everything else.
GRACE = 25.0
# Seconds to wait for a command that holds the lock of the state_dir while no daemon runs.
_LOCK_TIMEOUT = 3.0


class Daemon:
    """Every service of one configuration, and the change to another while they work.

    `environ` locates the control socket; `sockets` are listening SMTP sockets handed over by systemd. With `catch_up` a mailbox's
    first start also reads the mails already in it. `commands` are more commands for the control socket. `smtp` and `http` are the
    addresses served, set once the daemon is ready.
    """

    def __init__(
        self,
        config: Config,
        environ: Mapping[str, str],
        sockets: Sequence[socket.socket] = (),
        *,
        catch_up: bool = False,
        commands: Mapping[str, Command] | None = None,
    ) -> None:
        self._config, self._environ, self._sockets, self._catch_up = config, environ, sockets, catch_up
        self._commands = commands or {}
        self._clock: Callable[[], datetime] = Clock()
        self._route, self._plan = ConfiguredRoute(config), Planner(config)
        self._reloading = asyncio.Lock()
        self._files_kept_until = 0.0  # for a backup, by the event loop's clock
        self.smtp: list[tuple[str, int]] = []
        self.http: tuple[str, int] = ("", 0)

    async def run(self, stop: asyncio.Event, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until `stop` is set; call `ready` once mail is accepted. Ends within 30 s of `stop`.

        Raises StateLocked, SchemaTooNew, StoreUnavailable at the start. An address that it cannot listen on raises ConfigError
        or ControlError in an exception group.
        """
        load_plans()
        load_modules()
        limit_answers()
        async with AsyncExitStack() as stack:
            store = await stack.enter_async_context(open_for_daemon(self._config, _LOCK_TIMEOUT, self._route, self._plan))
            self._store = store
            self._clock = store.shared_clock or Clock()
            spool = spools.open_spool(self._config.state_dir, store.bodies)
            stack.push_async_callback(spool.close)
            self._runtime = runtime = Runtime(store, spool, self._clock, random.random)
            await self._recover(store.created_at)
            self._calls = await stack.enter_async_context(MyFaxCalls(self._config))
            self._letter_reader = await self._start_letter_reader(stack)
            self._smtp = SmtpService(self._config, runtime, self._letter_reader, self._sockets)
            self._pictures = PagePictures(self._letter_reader.picture)
            kind = SharedDrafts if store.member else Drafts
            self._drafts = kind(self._smtp, self._letter_reader, runtime, self._config.smtp.domains[0])
            stack.callback(self._drafts.close)

            group = await stack.enter_async_context(asyncio.TaskGroup())
            self._background = Background(group, runtime, store.member)
            self._mailboxes = WatchedMailboxes(self._background, store.member)
            stack.callback(self._background.cancel)
            keeping = group.create_task(self._keep_up())
            stack.callback(keeping.cancel)
            self._link_key = await load_link_key(store, self._config.state_dir)
            links = document_links(self._config, self._link_key)
            self._render = link_renderer(links, self._clock)
            await self._background.change(self._parts(self._config, links), self._config.fax.on_doubt)
            await self._open_control_socket(stack)
            self._web = await self._open_http(self._config, self._web_app(self._config, links))
            stack.push_async_callback(lambda: self._web.stop())
            self.smtp = await self._smtp.start()
            ready()
            await stop.wait()
            await asyncio.gather(self._smtp.stop(GRACE), self._background.drain(GRACE))

    async def reload(self, config: Config) -> None:
        """Change to another configuration. Connections go on, and what it does not change is not restarted.

        Raises ConfigError if it cannot be used, and ControlError if the daemon stops; the present one then stays in effect.
        """
        async with self._reloading:
            self._background.check_not_stopping()
            check_fixed(self._config, config)
            links = document_links(config, self._link_key)
            old_web, moved = self._web, http_listener(config) != http_listener(self._config)
            web = await self._open_http(config, old_web.app) if moved else old_web
            if not moved:
                renew_certificate(web, config)
            try:
                await self._smtp.reload(config)
            except BaseException:
                if moved:
                    await web.stop()
                raise
            self.smtp, self._config, self._web = self._smtp.addresses, config, web
            self._route.routes = Routes(config.webhooks, config.smtp.region)
            self._plan.use(config)
            self._letter_reader.page_mode = config.fax.page
            await self._calls.change(config)
            self._render = link_renderer(links, self._clock)
            parts = self._parts(config, links)
            for retention in (part.service for part in parts if isinstance(part.service, Retention)):
                await retention.hold(self._files_kept_until - asyncio.get_running_loop().time())
            await self._background.change(parts, config.fax.on_doubt)
            await self._calls.close_replaced()
            for watcher in self._background.all(Watcher):
                watcher.retry_now()
            web.app = self._web_app(config, links)
            if moved:
                await old_web.stop()
            await log_removed_endpoints(self._runtime.store, {*config.webhooks, *RESERVED_ENDPOINTS})

    async def _recover(self, database_created_at: datetime | None) -> None:
        """Settle what an earlier run left unfinished, before anything new starts."""
        store = self._runtime.store
        await store.run(lambda tx: tx.deliveries.requeue_interrupted())
        await log_removed_endpoints(store, {*self._config.webhooks, *RESERVED_ENDPOINTS})
        await recover_interrupted(self._runtime, self._config.fax.on_doubt)
        await spools.sweep_at_start(store, self._runtime.spool, self._clock(), database_created_at)

    async def _keep_up(self) -> None:
        """Follow the clock, or with PostgreSQL, whose clock counts, go on with the work of nodes that have ended."""
        if isinstance(self._clock, Clock):
            await follow_clock_jumps(self._store, self._clock)
        else:
            await take_over(self._runtime, lambda: self._config.fax.on_doubt)

    def _parts(self, config: Config, links: Links) -> list[Part]:
        calls, confirm = self._calls, self._letter_reader.confirmation
        return Assembly(config, self._runtime, calls.clients, confirm).parts(links, calls.documents, self._catch_up)

    async def _start_letter_reader(self, stack: AsyncExitStack) -> LetterReader:
        if missing := missing_parts():
            log.sandbox_incomplete("daemon", missing=missing)
        letter_reader = LetterReader(self._runtime.spool, self._config.fax.page)
        await letter_reader.start()
        stack.push_async_callback(letter_reader.stop)
        return letter_reader

    async def _open_control_socket(self, stack: AsyncExitStack) -> None:
        reader, store = self._letter_reader, self._runtime.store
        more = {**self._commands, "confirmation": lambda *, id: confirmation_of(id, store, self._config, reader.confirmation)}
        daemon: Mapping[str, Command] = {"send": self._send, "hold_retention": self._hold_retention, **more}
        commands = {**bind(store, self._clock, lambda event: self._render(event)), **daemon}
        control = ControlService(socket_path(self._config.state_dir, self._environ), commands, reader.is_worker)
        await control.start()
        stack.push_async_callback(control.stop)

    async def _send(self, *, numbers: Sequence[str], sender: str, body: AsyncIterator[bytes]) -> object:
        smtp, options = self._smtp, self._config.smtp
        local = LocalSubmission(smtp.admission, smtp.acceptance, options.domains[0], options.max_size)
        return await local.send(numbers=numbers, sender=sender, body=body)

    async def _hold_retention(self, *, seconds: float) -> None:
        self._files_kept_until = asyncio.get_running_loop().time() + seconds
        await self._background.one(Retention).hold(seconds)

    def _web_app(self, config: Config, links: Links) -> ASGIApp:
        runtime = self._runtime
        checks = _health_checks(self._store, runtime.spool, self._mailboxes.connected)
        return build(runtime.store, runtime.spool, links, checks, self._clock, self._facts, self._console(config))

    def _console(self, config: Config) -> ASGIApp | None:
        log_in = partial(_log_in, self._smtp)
        confirm, contacts = self._letter_reader.confirmation, self._mailboxes.last_contacts
        self._drafts.domain = config.smtp.domains[0]
        return console_app(
            config, self._runtime, log_in, confirm, lambda event: self._render(event), self._pictures, self._drafts, contacts
        )

    def _facts(self) -> Facts:
        return Facts(tuple(self._config.accounts), self._config.state_dir, self._mailboxes.last_contacts())

    async def _open_http(self, config: Config, app: ASGIApp) -> WebService:
        web, self.http = await open_http(config, app)
        return web


async def _log_in(smtp: SmtpService, name: str, password: bytes, client: str, service: str) -> None:
    """Check a password with those of SMTP, by the present configuration."""
    await smtp.authenticator.log_in(name, password, client, service)


def check_fixed(present: Config, new: Config) -> None:
    """Check that a configuration changes nothing that a running daemon cannot change. Raises ConfigError."""
    # The message does not repeat the URLs, which may contain a password.
    for key, change, is_same in (
        ("state_dir", f" from {present.state_dir} to {new.state_dir}", present.state_dir == new.state_dir),
        *(
            (f"store.{name}", "", getattr(present.store, name) == getattr(new.store, name))
            for name in ("url", "listen_url", "unsafe")
        ),
        ("node.name", "", present.node.name == new.node.name),
    ):
        if not is_same:
            fault = f"cannot change{change} while the daemon runs"
            raise ConfigError(key, fault, "restore the old value, or stop the daemon, move its state, and start it")


def _health_checks(store: SqlStore, spool: Spool, mailboxes: Callable[[], Mapping[str, bool]]) -> dict[str, Check]:
    async def writable() -> bool:
        if store.member is not None:
            store.member.check_lease()
        await store.run(lambda tx: None)
        return store.healthy and await asyncio.to_thread(spool.probe)

    async def connected(name: str) -> bool:
        return mailboxes().get(name, False)

    # Its file and its transaction cost more than anything else that a stranger may ask for.
    return {"store": SharedProbe(writable), **{f"mailbox {name}": partial(connected, name) for name in mailboxes()}}
