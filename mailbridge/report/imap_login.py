"""From a mailbox's settings to a connection that is logged in, by password or by OAuth2."""

from __future__ import annotations

import ssl

from mailbridge.config import Mailbox
from mailbridge.errors import MailboxError
from mailbridge.report.imap_connection import MAX_LITERAL, Connection
from mailbridge.report.oauth import Tokens


async def log_in(
    mailbox: Mailbox,
    tokens: Tokens | None,
    *,
    tls: ssl.SSLContext | None = None,
    timeout: float = 30.0,
    max_literal: int = MAX_LITERAL,
) -> Connection:
    """Connect and log in. An access token that was kept may have been revoked since: then once more with a fresh one.

    `tokens` are needed where the mailbox has no password. Raises MailboxError.
    """
    while True:
        token, fresh = await tokens.token() if tokens is not None else ("", True)
        connection = await Connection.open(
            mailbox.host, mailbox.port, mailbox.tls, context=tls, timeout=timeout, max_literal=max_literal
        )
        try:
            if tokens is None:
                await connection.login(mailbox.username, mailbox.password.get_secret_value() if mailbox.password else "")
            else:
                await connection.xoauth2(mailbox.username, token)
            return connection
        except MailboxError:
            connection.close()
            if tokens is not None:
                tokens.forget()
            if fresh:
                raise
        except BaseException:
            connection.close()
            raise
