"""Builds the services that run in the background, from the configuration and what all of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Literal, NamedTuple, Protocol, get_args
from zoneinfo import ZoneInfo

from mailbridge.config import Config
from mailbridge.errors import ErrorCode
from mailbridge.fax.poller import Poller
from mailbridge.fax.uploader import Uploader
from mailbridge.model import Event
from mailbridge.myfax import MyFax
from mailbridge.notice.admin_watch import AdminLead
from mailbridge.notice.assembly import build_admin_watch, build_dispatcher, build_folders
from mailbridge.notice.writer import Confirm
from mailbridge.report.document_download import Documents
from mailbridge.report.listing import Listing
from mailbridge.report.listing_recorder import Kind, ListingOptions
from mailbridge.report.oauth import Tokens
from mailbridge.report.token_keeper import StoreKeeper
from mailbridge.report.watcher import Watcher
from mailbridge.report.watcher_options import WatcherOptions
from mailbridge.runtime import Runtime
from mailbridge.store.retention import Retention
from mailbridge.store.spools import upkeep
from mailbridge.web.links import TTL, Links
from mailbridge.webhook.dispatcher import Dispatcher
from mailbridge.webhook.payload import body


class Service(Protocol):
    """A service in the background."""

    async def run(self) -> None:
        """Work until cancelled."""


class Part(NamedTuple):
    """A service, and everything of the configuration that it depends on: with the same `made_of` it need not be replaced."""

    kind: str
    name: str  # of the account, mailbox or webhook that it is for
    made_of: tuple[object, ...]
    service: Service
    lease: str = ""  # where several nodes share the database, the one that has this lease runs it; empty: each does


class Assembly:
    """Builds the services that run in the background.

    `clients` has one MyFax client for each account; `confirm` makes the confirmations of notices.
    """

    def __init__(self, config: Config, runtime: Runtime, clients: Mapping[str, MyFax], confirm: Confirm | None = None) -> None:
        self._config, self._runtime, self._clients, self._confirm = config, runtime, clients, confirm
        self._zone, self._region = ZoneInfo(config.timezone), config.smtp.region

    def parts(self, links: Links, documents: Documents, catch_up: bool) -> list[Part]:
        """Return every service, with what it is made of."""
        config, fax = self._config, self._config.fax
        calls = (config.myfax, config.timezone)
        links_of = (config.http, config.retention.documents)
        emails = tuple(account.email for account in config.accounts.values())
        mails = (config.timezone, config.smtp.region, bool(fax.redial.times), config.default_account, emails, catch_up)
        lists = (config.incoming, config.mailboxes, config.smtp.region, config.default_account, *calls)
        webhooks, boxes = config.webhooks.items(), config.mailboxes.items()
        uploaders = zip(config.accounts.items(), self.uploaders(), strict=True)
        dispatchers = zip(webhooks, self.dispatchers(links), strict=True)
        watchers = zip(boxes, self.watchers(catch_up), strict=True)
        return [
            *(Part("uploader", name, (account, fax, *calls), service) for (name, account), service in uploaders),
            Part("poller", "", (config.accounts, fax, *calls), self.poller(), "poller"),
            *(Part("dispatcher", name, (webhook, *links_of), service) for (name, webhook), service in dispatchers),
            *(Part("watcher", name, (mailbox, *mails), service, f"mailbox {name}") for (name, mailbox), service in watchers),
            *(Part("listing", one.name, (config.accounts, *lists), one, one.name) for one in self.listings(documents)),
            *self._notices(),
            Part("retention", "", (config.retention,), self.retention(), "retention"),
            *(Part("spool", one.name, (), one.service, one.lease) for one in upkeep(self._runtime.spool, self._runtime.clock)),
        ]

    def _notices(self) -> list[Part]:
        """The services that deliver notices, where the configuration needs them."""
        config = self._config
        mails, folders = build_dispatcher(config, self._runtime, self._confirm), build_folders(config, self._runtime)
        admin = build_admin_watch(config, self._runtime)
        mails_of = (config.notice, config.smtp.hostname, config.smtp.domains, config.language, config.timezone, config.users)
        return [
            *([Part("notices", mails.name, mails_of, mails)] if mails else []),
            # In this order, so that with SQLite the first look is made by one that leads.
            *([Part("lead", "", mails_of, AdminLead(admin), "administrators")] if admin else []),
            *([Part("admin", "", mails_of, admin)] if admin else []),
            *([Part("folders", folders.name, (config.timezone,), folders)] if folders else []),
        ]

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
            Dispatcher(
                name,
                webhook,
                self._runtime,
                renderer(webhook.document, webhook.inline_limit, self._runtime, links),
                renderer("link", 0, self._runtime, links) if webhook.document == "inline" else None,
            )
            for name, webhook in self._config.webhooks.items()
        ]

    def watchers(self, catch_up: bool) -> list[Watcher]:
        """One for each mailbox; `catch_up` as in `Daemon`."""
        # While redialling is on, a report of busy or no answer only triggers a status poll: the poller counts the dials.
        poll_first: frozenset[ErrorCode] = frozenset(("busy", "no_answer")) if self._config.fax.redial.times else frozenset()
        keeper = StoreKeeper(self._runtime.store, self._runtime.clock, self._config.state_dir)
        return [
            Watcher(
                WatcherOptions(
                    name=name,
                    mailbox=mailbox,
                    account=mailbox.account or self._config.default_account,
                    accounts=frozenset(account.email.lower() for account in self._config.accounts.values()),
                    zone=self._zone,
                    region=self._region,
                    catch_up=catch_up,
                    poll_first=poll_first,
                ),
                self._runtime,
                Tokens(name, mailbox.oauth2, keeper, self._runtime.clock) if mailbox.oauth2 else None,
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


def myfax_client(config: Config, account: str) -> MyFax:
    """Return the MyFax client of an account."""
    login, myfax = config.accounts[account], config.myfax
    return MyFax(login.email, login.password, myfax.url, myfax.timeout, ZoneInfo(config.timezone))


def document_links(config: Config, key: bytes) -> Links:
    """Return the maker of document links, signed with `key`. A link never outlives its document."""
    kept = timedelta(seconds=config.retention.documents)
    return Links(key, config.http.base_url, min(TTL, kept))


def renderer(
    document: Literal["none", "link", "inline"], inline_limit: int, runtime: Runtime, links: Links
) -> Callable[[Event], bytes]:
    """Return the function that makes the body of an event, with received documents in this form."""

    def read(path: str) -> bytes:
        with runtime.spool.open(path) as file:
            return file.readall()

    def render(event: Event) -> bytes:
        return body(event, document, link=partial(links.link, now=runtime.clock()), read=read, inline_limit=inline_limit)

    return render


def link_renderer(links: Links, clock: Callable[[], datetime]) -> Callable[[Event], bytes]:
    """Return the function that makes the body of an event with links to received documents, as most webhooks get it."""

    def render(event: Event) -> bytes:
        return body(event, "link", link=partial(links.link, now=clock()), read=lambda _: b"", inline_limit=0)

    return render
