"""The configuration: a file per section, with the help of each key; it alone reads TOML, environment and credentials."""

from mailbridge.config.accounts import Account, Distributor
from mailbridge.config.addresses import host_port, is_loopback
from mailbridge.config.contacts import Contacts
from mailbridge.config.fax import FaxOptions, Redial
from mailbridge.config.http import Http, HttpTls
from mailbridge.config.incoming import Incoming
from mailbridge.config.loader import load, problems
from mailbridge.config.log import Log
from mailbridge.config.mailboxes import Mailbox, OAuth2
from mailbridge.config.model import Config
from mailbridge.config.myfax import Myfax
from mailbridge.config.notice import Notice
from mailbridge.config.numbers import Numbers
from mailbridge.config.retention import Retention
from mailbridge.config.routes import Route
from mailbridge.config.smtp import Smtp, SmtpTls
from mailbridge.config.store import Node, StoreOptions
from mailbridge.config.users import User
from mailbridge.config.webhooks import Webhook

__all__ = [
    "Account",
    "Config",
    "Contacts",
    "Distributor",
    "FaxOptions",
    "Http",
    "HttpTls",
    "Incoming",
    "Log",
    "Mailbox",
    "Myfax",
    "Node",
    "Notice",
    "Numbers",
    "OAuth2",
    "Redial",
    "Retention",
    "Route",
    "Smtp",
    "SmtpTls",
    "StoreOptions",
    "User",
    "Webhook",
    "host_port",
    "is_loopback",
    "load",
    "problems",
]
