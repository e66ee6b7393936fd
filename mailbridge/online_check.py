"""Does everything that a configuration names let us in? Asked by `check --online`; nothing is faxed and nothing changed."""

from __future__ import annotations

import asyncio
import contextlib
import smtplib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

from mailbridge.config import Account, Config, Mailbox, Webhook, is_loopback
from mailbridge.errors import MailboxError, MailbridgeError
from mailbridge.model import Event, new_id
from mailbridge.myfax import MyFax
from mailbridge.report import parser
from mailbridge.report.imap_connection import Connection
from mailbridge.report.imap_login import log_in
from mailbridge.report.imap_responses import BATCH
from mailbridge.report.mail_fetcher import FAX_MAILS
from mailbridge.report.oauth import Tokens
from mailbridge.report.trust import would_pass
from mailbridge.webhook.client import WebhookClient
from mailbridge.webhook.guard import guarded_client
from mailbridge.webhook.payload import body

# Seconds for each part; all are asked at once.
PATIENCE = 20.0
# So many fax mails are looked at, each up to this (bytes): DKIM is not found in a longer one, an incoming fax of many pages.
NEWEST = 5
LARGEST = 2_000_000


@dataclass(frozen=True, slots=True)
class Check:
    """What one part said."""

    part: str
    ok: bool
    words: str


async def check_all(config: Config) -> list[Check]:
    """Ask every account, mailbox, webhook and the relay, all at once; the answers come in the order of the file."""
    asked = [_check(f"account {name}", partial(_account, config, account)) for name, account in config.accounts.items()]
    asked += [_check(f"mailbox {name}", partial(_mailbox, config, name, mailbox)) for name, mailbox in config.mailboxes.items()]
    asked += [_check(f"webhook {name}", partial(_webhook, name, webhook)) for name, webhook in config.webhooks.items()]
    if config.notice.relay is not None:
        asked.append(_check("relay", partial(_relay, config.notice.relay.get_secret_value())))
    return list(await asyncio.gather(*asked))


async def _check(part: str, ask: Callable[[], Awaitable[str]]) -> Check:
    try:
        async with asyncio.timeout(PATIENCE):
            return Check(part, True, await ask())
    except TimeoutError:
        return Check(part, False, f"no answer in {PATIENCE:g} s")
    except (MailbridgeError, OSError) as error:
        return Check(part, False, str(error))
    except Exception as error:
        # What nobody foresaw in one part must not hide the others; its words may hold a secret, its name does not.
        return Check(part, False, f"cannot be asked ({type(error).__name__})")


async def _account(config: Config, account: Account) -> str:
    """Log in with `incoming.do`, the one action that asks for nothing but the login."""
    zone = ZoneInfo(config.timezone)
    async with MyFax(account.email, account.password, config.myfax.url, PATIENCE, zone) as client:
        since = datetime.now(UTC) - timedelta(days=1)
        async for _ in client.incoming("incoming", start=since):
            break
    return f"{account.email} may log in to MyFax"


async def _mailbox(config: Config, name: str, mailbox: Mailbox) -> str:
    told: list[str] = []
    tokens = None
    if mailbox.oauth2 is not None:
        tokens = Tokens(name, mailbox.oauth2, config.state_dir, lambda: datetime.now(UTC), tell=told.append)
    connection = await log_in(mailbox, tokens, timeout=PATIENCE)
    try:
        await connection.select(mailbox.folder)
        idle = "with IDLE" if "IDLE" in connection.capabilities else "without IDLE: new mail is looked for every 15 s"
        told.append(await _trust(connection, mailbox))
        return f"{mailbox.username} may log in and open {mailbox.folder}, {idle}; {'; '.join(told)}"
    finally:
        connection.close()


async def _trust(connection: Connection, mailbox: Mailbox) -> str:
    """Say what the newest fax mail is believed by. That one may be forged: where nothing believes it, also an older one."""
    try:
        async with asyncio.timeout(PATIENCE / 2):
            which, looked = "newest", False
            for uid in reversed(await _fax_mails(connection)):
                for mail in await connection.fetch([uid], first=LARGEST):
                    if passed := await asyncio.to_thread(would_pass, mail.content, mailbox.from_):
                        return f"the {which} fax mail passes {_told(passed, mailbox.trust)}"
                    which, looked = "newest believable", True
    except (MailboxError, TimeoutError) as error:
        return f"trust cannot be tried ({str(error) or 'no answer in time'})"
    if not looked:
        return "no mail of MyFax's is there yet to try trust on"
    return f"the newest fax mail passes {_told([], mailbox.trust)}"


async def _fax_mails(connection: Connection) -> list[int]:
    """Return the UIDs of the newest fax mails; where the server finds none by their headers, of those among its last mails."""
    with contextlib.suppress(MailboxError):
        if found := await connection.search(FAX_MAILS):
            return found[-NEWEST:]
    last = (await connection.search("ALL"))[-BATCH:]
    heads = await connection.fetch(last, part="HEADER") if last else []
    return [mail.uid for mail in heads if parser.digest(mail.content, mail.size) is not None][-NEWEST:]


def _told(passed: list[str], trust: str) -> str:
    names = " and ".join(passed) or "neither dkim nor authserv:ID"
    server = " (if that is your own mail server)" if passed and passed[-1].startswith("authserv:") else ""
    right = trust == "none" or trust.lower() in [name.lower() for name in passed]
    verdict = "believes it" if right else "does not believe it, so such a report only makes mailbridge ask MyFax"
    return f"{names}{server}; trust = {trust} {verdict}"


async def _webhook(name: str, webhook: Webhook) -> str:
    event = Event(id=new_id("evt"), type="ping", at=datetime.now(UTC), fax_id=None, seq=0, data={"webhook": name})
    content = body(event, "none", link=lambda _: ("", event.at), read=lambda _: b"", inline_limit=0)
    async with guarded_client(webhook.allow_private, webhook.timeout) as http:
        result = await WebhookClient(webhook, lambda: event.at).post(http, event, content)
    if result.error is not None:
        # The host alone: an address may carry a secret in its path or before its @.
        raise MailbridgeError(f"{urlsplit(webhook.url).hostname} did not take a ping: {result.error}")
    return f"took a ping with HTTP {result.status}"


async def _relay(url: str) -> str:
    return await asyncio.to_thread(_log_in_to_relay, url)


def _log_in_to_relay(url: str) -> str:
    """Blocking. Raises MailbridgeError, and OSError, of which smtplib's errors are kinds."""
    parts = urlsplit(url)
    host, tls = parts.hostname or "", parts.scheme == "smtps"
    port = _port(url) or (465 if tls else 587)
    if parts.scheme not in ("smtp", "smtps") or not host:
        raise MailbridgeError("notice.relay is no address; write smtp://[user:password@]host:port, or smtps://")
    context = ssl.create_default_context()
    try:
        client = (
            smtplib.SMTP_SSL(host, port, timeout=PATIENCE, context=context) if tls else smtplib.SMTP(host, port, timeout=PATIENCE)
        )
        with client:
            client.ehlo()
            if not tls and client.has_extn("starttls"):
                client.starttls(context=context)
                client.ehlo()
                tls = True
            if parts.username:
                if not tls and not is_loopback(host):
                    raise MailbridgeError(f"{host} offers no STARTTLS, and the password is not sent in clear; write smtps://")
                client.login(unquote(parts.username), unquote(parts.password or ""))
            client.noop()
    except smtplib.SMTPAuthenticationError as error:
        raise MailbridgeError(f"{host} refuses the login: {_reply(error)}") from None
    except smtplib.SMTPResponseException as error:
        raise MailbridgeError(f"{host} answers {_reply(error)}") from None
    except OSError as error:
        raise MailbridgeError(f"{host}:{port} cannot be used: {error}") from None
    return f"{host} takes our mail"


def _port(url: str) -> int | None:
    try:
        return urlsplit(url).port
    except ValueError:
        # Not the error's own words: in an address with a slash in its password they quote the password.
        raise MailbridgeError("notice.relay has no port that is a number; in a password write / as %2F and @ as %40") from None


def _reply(error: smtplib.SMTPResponseException) -> str:
    text = error.smtp_error
    return f"{error.smtp_code} {text.decode(errors='replace') if isinstance(text, bytes) else text}"
