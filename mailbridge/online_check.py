"""The checks of `check --online`: can mailbridge log in everywhere that the configuration names? Nothing is faxed or changed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from mailbridge.config import Account, Config, Mailbox, Webhook
from mailbridge.errors import MailboxError, MailbridgeError
from mailbridge.myfax import MyFax
from mailbridge.notice.relay_check import check_relay
from mailbridge.report.imap_connection import POLL_SECONDS, Connection
from mailbridge.report.imap_login import log_in
from mailbridge.report.imap_responses import BATCH
from mailbridge.report.mail_fetcher import FAX_MAILS
from mailbridge.report.oauth import Tokens
from mailbridge.report.parser import digest
from mailbridge.report.token_keeper import FileKeeper, TokenKeeper
from mailbridge.report.trust import would_pass
from mailbridge.webhook.ping import ping

# What keeps tokens, from the state_dir and what to call with a warning.
KeeperOf = Callable[[Path, Callable[[str], None]], TokenKeeper]
# Seconds for each check; all run at once.
TIMEOUT = 20.0
# How many of the newest fax mails are tried, and how many bytes of each: DKIM fails on a longer one, a fax of many pages.
NEWEST = 5
LARGEST = 2_000_000


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check. `check --json` prints these fields; `words` is for a person."""

    part: str
    ok: bool
    words: str


async def check_all(config: Config, send_to: str | None = None, keeper: KeeperOf = FileKeeper) -> list[Check]:
    """Check every account, mailbox, webhook and the relay at once; the results come in the order of the configuration.

    With `send_to`, a sample notice is mailed there. `keeper` returns what keeps OAuth 2.0 tokens.
    """
    checks = [_check(f"account {name}", partial(_account, config, account)) for name, account in config.accounts.items()]
    checks += [
        _check(f"mailbox {name}", partial(_mailbox, config, name, mailbox, keeper)) for name, mailbox in config.mailboxes.items()
    ]
    checks += [_check(f"webhook {name}", partial(_webhook, name, webhook)) for name, webhook in config.webhooks.items()]
    if config.notice.relay is not None:
        checks.append(_check("relay", partial(check_relay, config, send_to, datetime.now(UTC))))
    results = list(await asyncio.gather(*checks))
    if config.notice.relay is None:
        results.append(Check("relay", True, "notice.relay is not set: senders get no mail about their faxes"))
    return results


async def _check(part: str, work: Callable[[], Awaitable[str]]) -> Check:
    try:
        async with asyncio.timeout(TIMEOUT):
            return Check(part, True, await work())
    except TimeoutError:
        return Check(part, False, f"no answer in {TIMEOUT:g} s")
    except (MailbridgeError, OSError) as error:
        return Check(part, False, str(error))
    except Exception as error:
        # An unexpected error in one check must not hide the others. Its text may contain a secret, its type does not.
        return Check(part, False, f"check failed ({type(error).__name__})")


async def _account(config: Config, account: Account) -> str:
    """Log in with `incoming.do`, the one action that needs nothing but the login."""
    zone = ZoneInfo(config.timezone)
    async with MyFax(account.email, account.password, config.myfax.url, TIMEOUT, zone) as client:
        since = datetime.now(UTC) - timedelta(days=1)
        async for _ in client.incoming("incoming", start=since):
            break
    return f"login to MyFax as {account.email} ok"


async def _mailbox(config: Config, name: str, mailbox: Mailbox, keeper: KeeperOf) -> str:
    found: list[str] = []
    tokens = None
    if mailbox.oauth2 is not None:
        kept = keeper(config.state_dir, found.append)
        tokens = Tokens(name, mailbox.oauth2, kept, lambda: datetime.now(UTC), warn=found.append)
    connection = await log_in(mailbox, tokens, timeout=TIMEOUT)
    try:
        await connection.select(mailbox.folder)
        idle = "with IDLE" if "IDLE" in connection.capabilities else f"without IDLE: new mail is found every {POLL_SECONDS:g} s"
        found.append(await _trust(connection, mailbox))
        return f"login as {mailbox.username} ok, folder {mailbox.folder} ok, {idle}; {'; '.join(found)}"
    finally:
        connection.close()


async def _trust(connection: Connection, mailbox: Mailbox) -> str:
    """Return which trust settings the newest fax mail passes, or an older one if it passes none: the newest may be forged."""
    try:
        async with asyncio.timeout(TIMEOUT / 2):
            which, any_mail = "newest", False
            for uid in reversed(await _fax_mails(connection)):
                for mail in await connection.fetch([uid], first=LARGEST):
                    if passed := await asyncio.to_thread(would_pass, mail.content, mailbox.from_):
                        return f"the {which} fax mail passes {_verdict(passed, mailbox.trust)}"
                    which, any_mail = "newest trusted", True
    except (MailboxError, TimeoutError) as error:
        return f"trust not checked ({str(error) or 'no answer in time'})"
    if not any_mail:
        return "trust not checked: no fax mail is there yet"
    return f"the newest fax mail passes {_verdict([], mailbox.trust)}"


async def _fax_mails(connection: Connection) -> list[int]:
    """Return the UIDs of the newest fax mails; among the last mails of all, if the server finds none by their headers."""
    with contextlib.suppress(MailboxError):
        if found := await connection.search(FAX_MAILS):
            return found[-NEWEST:]
    last = (await connection.search("ALL"))[-BATCH:]
    headers = await connection.fetch(last, part="HEADER") if last else []
    return [mail.uid for mail in headers if digest(mail) is not None][-NEWEST:]


def _verdict(passed: list[str], trust: str) -> str:
    names = " and ".join(passed) or "neither dkim nor authserv:ID"
    server = " (if that is your own mail server)" if passed and passed[-1].startswith("authserv:") else ""
    trusted = trust == "none" or trust.lower() in [name.lower() for name in passed]
    verdict = "trusts it" if trusted else "does not trust it, so such a report only makes mailbridge ask MyFax"
    return f"{names}{server}; trust = {trust} {verdict}"


async def _webhook(name: str, webhook: Webhook) -> str:
    _, result = await ping(name, webhook, lambda: datetime.now(UTC))
    if result.error is not None:
        # Only the host: a URL may carry a secret in its path or before its @.
        raise MailbridgeError(f"ping to {urlsplit(webhook.url).hostname} failed: {result.error}")
    return f"ping ok, HTTP {result.status}"
