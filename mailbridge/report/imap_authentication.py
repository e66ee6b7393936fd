"""How a client logs in to an IMAP server: the command, and what answers the server's continuations. Pure.

Section numbers are those of RFC 3501. Letters beyond ASCII cannot stand in a quoted string (section 4.3): they go by
AUTHENTICATE, or as a literal.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from mailbridge.errors import MailboxError

_QUOTABLE = re.compile(r"[\x20-\x7e]*")


@dataclass(frozen=True, slots=True)
class Exchange:
    """One login: a command with its arguments, and a reply to each continuation of the server, each followed by CR LF.

    `secrets` are texts that no error may repeat.
    """

    command: str
    args: tuple[str, ...]
    replies: tuple[bytes, ...]
    secrets: tuple[str, ...]


def by_password(username: str, password: str, capabilities: Collection[str]) -> Exchange:
    """Return the login by a password: LOGIN (section 6.2.3), or AUTHENTICATE PLAIN or LOGIN where LOGIN is off or not enough.

    Raises MailboxError if the server offers none of them.
    """
    if "\0" in username + password:
        raise MailboxError("a user name or password with a NUL character cannot be sent by IMAP")
    plain_ascii = _QUOTABLE.fullmatch(username) and _QUOTABLE.fullmatch(password)
    disabled = "LOGINDISABLED" in capabilities
    if (disabled or not plain_ascii) and "AUTH=PLAIN" in capabilities:
        return _plain(username, password, capabilities)
    if disabled and "AUTH=LOGIN" in capabilities:
        replies = (_base64(username), _base64(password))
        return Exchange("AUTHENTICATE", ("LOGIN",), replies, (password, replies[1].decode()))
    if disabled:
        raise MailboxError(f"the server refuses passwords on this connection; {_without_passwords(capabilities)}")
    return _login(username, password)


def by_token(username: str, token: str, capabilities: Collection[str]) -> Exchange:
    """Return the login with AUTHENTICATE XOAUTH2 (section 6.2.2; Google's and Microsoft's mechanism). Raises MailboxError."""
    if "AUTH=XOAUTH2" not in capabilities:
        raise MailboxError("the server offers no XOAUTH2 on this connection; set tls to implicit or starttls, or a password")
    return _sasl("XOAUTH2", f"user={username}\x01auth=Bearer {token}\x01\x01", token, capabilities)


def decode_sasl(error: bytes) -> str:
    """Return the error of a refused XOAUTH2, which is JSON in base64, on one line."""
    try:
        return " ".join(base64.b64decode(error).decode("utf-8", "replace").split())[:300]
    except ValueError:
        return ""


def scrubbed(text: str, secrets: Iterable[str]) -> str:
    """Return a server's text without the secrets that it repeats."""
    for secret in filter(None, secrets):
        text = text.replace(secret, "***")
    return text


def _plain(username: str, password: str, capabilities: Collection[str]) -> Exchange:
    """AUTHENTICATE PLAIN (RFC 4616), in UTF-8."""
    return _sasl("PLAIN", f"\0{username}\0{password}", password, capabilities)


def _sasl(mechanism: str, response: str, secret: str, capabilities: Collection[str]) -> Exchange:
    """The initial response goes with the command where the server has SASL-IR (RFC 4959)."""
    encoded = _base64(response)
    secrets = (secret, encoded.decode())
    if "SASL-IR" in capabilities:
        return Exchange("AUTHENTICATE", (mechanism, encoded.decode()), (), secrets)
    return Exchange("AUTHENTICATE", (mechanism,), (encoded,), secrets)


def _login(username: str, password: str) -> Exchange:
    """LOGIN, with a literal (section 4.3) for what a quoted string cannot hold. The server asks for a literal's bytes."""
    escaped = {text: text.replace("\\", r"\\").replace('"', r"\"") for text in (username, password)}
    lines = [b""]
    for text in (username, password):
        lines[-1] += b" " if lines[-1] else b""
        if _QUOTABLE.fullmatch(text):
            lines[-1] += f'"{escaped[text]}"'.encode()
        else:
            lines[-1] += b"{%d}" % len(text.encode())
            lines.append(text.encode())
    return Exchange("LOGIN", (lines[0].decode(),), tuple(lines[1:]), (password, escaped[password]))


def _without_passwords(capabilities: Collection[str]) -> str:
    if "AUTH=XOAUTH2" in capabilities:
        return "it wants OAuth 2.0: set oauth2 instead of password"
    return "set tls to implicit or starttls"


def _base64(text: str) -> bytes:
    return base64.b64encode(text.encode())
