"""Opens a connection to a mailbox and logs in, by password or by OAuth 2.0."""

from __future__ import annotations

import ssl

from mailbridge.config import Mailbox
from mailbridge.errors import MailboxError
from mailbridge.report.imap_connection import MAX_LITERAL, Connection
from mailbridge.report.imap_refusal import patience
from mailbridge.report.oauth import Tokens


async def log_in(
    mailbox: Mailbox,
    tokens: Tokens | None,
    *,
    tls: ssl.SSLContext | None = None,
    timeout: float = 30.0,
    max_literal: int = MAX_LITERAL,
) -> Connection:
    """Connect and log in. If a token that was used before is refused, it may have been revoked: try once more with a new one.

    `tokens` are needed if the mailbox has no password. Raises MailboxError, and LoginRefused for a login that is not
    accepted.
    """
    while True:
        token, new = await tokens.token() if tokens is not None else ("", True)
        connection = await Connection.open(
            mailbox.host, mailbox.port, mailbox.tls, context=tls, timeout=timeout, max_literal=max_literal
        )
        try:
            if tokens is None:
                await connection.login(mailbox.username, mailbox.password.get_secret_value() if mailbox.password else "")
            else:
                await connection.xoauth2(mailbox.username, token)
            return connection
        except MailboxError as error:
            connection.close()
            busy = patience(error) is not None
            if tokens is not None and not busy:
                tokens.invalidate()
            if new or busy:
                raise
        except BaseException:
            connection.close()
            raise
