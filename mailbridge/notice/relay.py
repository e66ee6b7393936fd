"""The mail relay: connections to it by aiosmtplib, and what its replies mean.

A relay on another machine needs a valid certificate wherever it offers STARTTLS, and a password is never sent in clear. To a
relay on this machine nothing is encrypted: Debian's Postfix offers STARTTLS with a certificate that no client accepts.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from dataclasses import dataclass
from typing import Literal

import aiosmtplib
from aiosmtplib import SMTPAuthenticationError, SMTPDataError, SMTPException, SMTPHeloError, SMTPResponse, SMTPResponseException

from mailbridge.config import is_loopback
from mailbridge.config.mail_addresses import RelayAddress
from mailbridge.happy_eyeballs import open_socket
from mailbridge.notice.compose import Mail

# Seconds for one command; RFC 5321 section 4.5.3.2 asks for 2 to 10 minutes, which a local relay never needs.
_TIMEOUT = 60.0
# Replies that are about the login, not the mail: a person repairs them, and the mail is tried again.
_LOGIN_REPLIES = (530, 534, 535, 538)


class RelayUnavailable(Exception):
    """No mail can be handed to the relay now: it does not answer, or refuses the connection or the login."""

    def __init__(self, error: str, status: int | None = None) -> None:
        super().__init__(error)
        self.status = status


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a mail: it was taken, is to be tried again, or was refused for good. `status` is the reply's code."""

    kind: Literal["sent", "again", "refused"]
    status: int | None = None
    error: str | None = None

    @property
    def is_too_large(self) -> bool:
        """Whether the size of the mail may be the reason (RFC 5321: 552; RFC 3463: X.3.4)."""
        return self.kind == "refused" and (self.status == 552 or " 5.3.4 " in f"{self.error} ")


class Relay:
    """Opens connections to one relay. `hostname` is this machine's name for EHLO; `fallback` replaces a refused null sender."""

    def __init__(self, address: RelayAddress, hostname: str, fallback: str = "", timeout: float = _TIMEOUT) -> None:
        self._address, self._hostname, self._fallback, self._timeout = address, hostname, fallback, timeout

    async def connect(self) -> RelayConnection:
        """Connect, start TLS and log in. Raises RelayUnavailable."""
        address, local = self._address, is_loopback(self._address.host)
        opened = await self._open_socket()
        client = aiosmtplib.SMTP(
            hostname=address.host,
            sock=opened,
            use_tls=address.tls,
            start_tls=False if local or address.tls else None,
            local_hostname=self._hostname,
            timeout=self._timeout,
        )
        try:
            await client.connect()
            try:
                await client.ehlo()
            except SMTPHeloError:
                await client.helo()
            if address.username:
                self._check_encrypted(client, local=local)
                await client.login(address.username, address.password)
        except (SMTPException, OSError, ssl.SSLError, ValueError) as error:
            client.close()
            raise _unavailable(error, address) from None
        except BaseException:
            client.close()
            raise
        return RelayConnection(client, self._fallback)

    async def _open_socket(self) -> socket.socket:
        """Connect to the first of the relay's addresses that answers. Raises RelayUnavailable."""
        address = self._address
        try:
            async with asyncio.timeout(self._timeout):
                return await open_socket(address.host, address.port)
        except TimeoutError:
            fault = f"{address.host}:{address.port} does not answer for {self._timeout:.0f} seconds"
            raise RelayUnavailable(fault) from None
        except OSError as error:
            raise _unavailable(error, address) from None

    def _check_encrypted(self, client: aiosmtplib.SMTP, *, local: bool) -> None:
        if not _is_encrypted(client) and not local:
            host = self._address.host
            raise RelayUnavailable(f"{host} offers no STARTTLS, and the password would be sent in clear; write smtps://")


def _unavailable(error: Exception, address: RelayAddress) -> RelayUnavailable:
    if isinstance(error, SMTPAuthenticationError):
        return RelayUnavailable(f"{address.host} refuses the login: {error.code} {_line(error.message)}", error.code)
    if isinstance(error, SMTPResponseException):
        return RelayUnavailable(f"{address.host} answers {error.code} {_line(error.message)}", error.code)
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    if isinstance(cause, OSError) and cause.errno is not None and not isinstance(cause, ssl.SSLError):
        # asyncio's own text repeats the address; the number of a name that is not found is none of strerror's.
        why = str(cause.strerror) if isinstance(cause, socket.gaierror) else os.strerror(cause.errno)
    else:
        why = str(error) or type(error).__name__
    return RelayUnavailable(f"{address.host}:{address.port} cannot be used: {_line(why)}")


def _line(text: str) -> str:
    """Return a reply's text in one line, without what a database or a terminal would not take."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())[:200]


class RelayConnection:
    """One connection, for one mail after the other."""

    def __init__(self, client: aiosmtplib.SMTP, fallback: str) -> None:
        self._client, self._fallback = client, fallback

    @property
    def encrypted(self) -> bool:
        """Whether TLS protects it."""
        return _is_encrypted(self._client)

    def offers(self, extension: str) -> bool:
        """Whether the relay offers this extension of SMTP, such as `DSN`."""
        return self._client.supports_extension(extension.lower())

    async def send(self, mail: Mail) -> Result:
        """Hand over a mail from the null sender, or from the fallback if the relay refuses that. Raises RelayUnavailable."""
        if mail.smtputf8 and not self.offers("SMTPUTF8"):
            return Result("refused", None, "the relay does not offer SMTPUTF8, which this address needs")
        try:
            reply = await self._announce("", mail)
            if 500 <= reply.code <= 599 and reply.code not in _LOGIN_REPLIES and self._fallback:
                await self._client.rset()
                reply = await self._announce(self._fallback, mail)
            if reply.code < 300:
                reply = await self._client.data(mail.content)
                return Result("sent", reply.code)
            if reply.code != 421:
                await self._client.rset()
        except SMTPDataError as error:
            reply = SMTPResponse(error.code, error.message)
        except Exception as error:  # whatever it is, nobody knows how far the dialogue came
            self._client.close()
            raise RelayUnavailable(_line(str(error) or type(error).__name__), getattr(error, "code", None)) from None
        refusal = f"{reply.code} {_line(reply.message)}"
        if reply.code == 421 or reply.code in _LOGIN_REPLIES:
            raise RelayUnavailable(refusal, reply.code)
        return Result("again" if reply.code < 500 else "refused", reply.code, refusal)

    async def _announce(self, sender: str, mail: Mail) -> SMTPResponse:
        """Send MAIL and RCPT; return the reply that refuses one of them, otherwise the last."""
        wanted = {
            f"SIZE={len(mail.content)}": self.offers("SIZE"),  # RFC 1870: a mail that is too large is refused before it is sent
            "BODY=8BITMIME": mail.eight_bit,
            "SMTPUTF8": mail.smtputf8,
        }
        options = [option for option, is_wanted in wanted.items() if is_wanted]
        reply = await self._client.execute_command(b"MAIL", f"FROM:<{sender}>".encode(), *(one.encode() for one in options))
        if reply.code >= 300:
            return reply
        # A DSN about a notice would come back to the null sender.
        never = [b"NOTIFY=NEVER"] if self.offers("DSN") else []
        return await self._client.execute_command(b"RCPT", f"TO:<{mail.to}>".encode(), *never)

    async def close(self) -> None:
        """End the connection."""
        with contextlib.suppress(SMTPException, OSError):
            await self._client.quit(timeout=2.0)
        self._client.close()


def _is_encrypted(client: aiosmtplib.SMTP) -> bool:
    return client.transport is not None and client.transport.get_extra_info("ssl_object") is not None
