"""The whole configuration, section by section."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from mailbridge.config.accounts import Account, Distributor
from mailbridge.config.contacts import Contacts
from mailbridge.config.fax import FaxOptions
from mailbridge.config.http import Http
from mailbridge.config.incoming import Incoming
from mailbridge.config.log import Log
from mailbridge.config.mailboxes import Mailbox
from mailbridge.config.myfax import Myfax
from mailbridge.config.notice import Notice
from mailbridge.config.numbers import Numbers
from mailbridge.config.retention import Retention
from mailbridge.config.routes import Route
from mailbridge.config.section import Section
from mailbridge.config.smtp import Smtp
from mailbridge.config.store import Node, StoreOptions
from mailbridge.config.users import User
from mailbridge.config.values import Zone, wrong
from mailbridge.config.webhooks import Webhook

if TYPE_CHECKING:
    from mailbridge.errors import ConfigError
    from mailbridge.phone.contacts import Directory

# Endpoints of deliveries that are no webhooks: notices by mail, and documents to folders.
RESERVED_ENDPOINTS = frozenset({"notice", "folder"})


class Config(Section):
    """A valid configuration. Attributes mirror the keys; durations are in seconds, sizes in bytes."""

    state_dir: Path = Field(
        default=Path("/var/lib/mailbridge"),
        description="Directory of the database and the spool. Default: $STATE_DIRECTORY, set by systemd, otherwise this path.",
    )
    timezone: Zone = Field(
        default="Asia/Jerusalem",
        description="Time zone assumed for MyFax timestamps, and of times that people see.",
    )
    language: Literal["he", "en"] = Field(
        default="he",
        description='Language of notices, and of the console where the browser asks for neither: "he" or "en".',
    )
    store: StoreOptions = Field(
        default=StoreOptions(),
        description="Storage of faxes and events.",
    )
    node: Node = Field(
        default_factory=Node,
        description="This daemon among several that share a PostgreSQL database.",
    )
    myfax: Myfax = Field(
        default=Myfax(),
        description="The MyFax API.",
    )
    accounts: dict[str, Account] = Field(
        alias="account",
        min_length=1,
        description="A MyFax login. The first account is the default.",
        examples=["office"],
    )
    distributor: Distributor | None = Field(
        default=None,
        description="Login for `mailbridge line register` and `mailbridge line release`.",
    )
    smtp: Smtp = Field(
        default=Smtp(),
        description="The SMTP server that accepts faxes by mail.",
    )
    users: dict[str, User] = Field(
        default={},
        alias="user",
        description="A person or a device that may send faxes, and what this user may do in the console.",
        examples=["scanner"],
    )
    numbers: Numbers = Field(
        default=Numbers(),
        description="Numbers that may be faxed.",
    )
    contacts: Contacts = Field(
        default=Contacts(),
        description=(
            "Names that can stand before the @ instead of a number, as in clalit-haifa@fax.local, and lists of names:\n"
            'clalit-haifa = "04-8765432"\n'
            'banks = ["leumi", "hapoalim"]\n'
            "A list sends to each of its contacts. Capitals do not matter, and a blank in a name becomes a hyphen in the address."
        ),
    )
    fax: FaxOptions = Field(
        default=FaxOptions(),
        description="Sending and tracking of faxes.",
    )
    notice: Notice = Field(
        default=Notice(),
        description=(
            "Notices: mail to senders about their faxes, and to administrators. Nothing is sent without a relay. "
            "docs/notices.md says what each mail contains."
        ),
    )
    mailboxes: dict[str, Mailbox] = Field(
        default={},
        alias="mailbox",
        description="An IMAP mailbox that MyFax mails reports and received faxes to.",
        examples=["office"],
    )
    incoming: Incoming = Field(
        default=Incoming(),
        description="Polling of MyFax's list of received faxes and voicemails (incoming.do).",
    )
    routes: dict[str, Route] = Field(
        default={},
        alias="route",
        description="Received faxes and voicemails that are mailed to people, or stored in a folder.",
        examples=["sales"],
    )
    webhooks: dict[str, Webhook] = Field(
        default={},
        alias="webhook",
        description="An endpoint that receives events, signed as Standard Webhooks requires.",
        examples=["crm"],
    )
    http: Http = Field(
        default=Http(),
        description="HTTP server for health checks, metrics and documents.",
    )
    retention: Retention = Field(
        default=Retention(),
        description="Retention times, counted from the final state.",
    )
    log: Log = Field(
        default=Log(),
        description="Log on standard error.",
    )

    @field_validator("webhooks")
    @classmethod
    def _free_names(cls, value: dict[str, Webhook]) -> dict[str, Webhook]:
        for name in RESERVED_ENDPOINTS & value.keys():
            raise wrong(f"{name} is the name of deliveries by mail or to folders", "give the webhook another name")
        return value

    @cached_property
    def directory(self) -> Directory:
        """The contacts with their numbers; one with an error is missing."""
        return self._built[0]

    @property
    def contact_errors(self) -> list[ConfigError]:
        """What is wrong with the contacts."""
        return self._built[1]

    @cached_property
    def _built(self) -> tuple[Directory, list[ConfigError]]:
        # Loads phonenumbers, which most commands do not need.
        from mailbridge.phone.contacts import build

        return build(self.contacts.entries, self.smtp.region, possible=self.numbers.possible)

    def accounts_of(self, user_name: str | None) -> tuple[str, ...]:
        """Return the accounts that a user may send with, the one that is used by default first; of None, without a login, all."""
        user = self.users.get(user_name or "")
        own = (user.account if user else None) or self.default_account
        if user is None or (user.account is None and not user.accounts):
            return tuple(dict.fromkeys((own, *self.accounts)))
        return tuple(dict.fromkeys((own, *user.accounts)))

    @property
    def default_account(self) -> str:
        """The first account of the file."""
        return next(iter(self.accounts))
