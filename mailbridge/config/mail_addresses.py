"""Mail addresses and the mail relay in the configuration."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from email.utils import formataddr, parseaddr
from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import BeforeValidator

from mailbridge.config.values import email_address, wrong

_RELAY_REMEDY = "write smtp://[user:password@]host:port, or smtps://"


def _address(value: object) -> str:
    return email_address(value, 'write an address such as "fax@example.co.il"')


def _named(value: object) -> object:
    """Accept `name <address>` or a bare address."""
    name, address = parseaddr(str(value))
    if not name.isprintable():
        raise wrong("the display name has control characters", 'write "Fax <fax@example.co.il>"')
    valid = _address(address or value)
    if f"{name}{valid}".isascii():
        return formataddr((name, valid))
    # In quotes, as a name with a comma would otherwise be read as two addresses. formataddr takes ASCII addresses alone.
    quoted = re.sub(r'(["\\])', r"\\\1", name)
    return f'"{quoted}" <{valid}>' if name else valid


def _addresses(value: object) -> object:
    """Accept one address or a list of them."""
    if isinstance(value, str):
        return (_address(value),)
    return tuple(_address(one) for one in value) if isinstance(value, list | tuple) else value


MailAddress = Annotated[str, BeforeValidator(lambda value: value if value == "" else _address(value))]
MailAddresses = Annotated[tuple[str, ...], BeforeValidator(_addresses)]
NamedAddress = Annotated[str, BeforeValidator(_named)]


@dataclass(frozen=True, slots=True)
class RelayAddress:
    """Where and how notices leave. `tls` is TLS from the first byte on (smtps)."""

    host: str
    port: int
    tls: bool
    username: str = ""
    password: str = field(default="", repr=False)


def relay_address(url: str) -> RelayAddress:
    """Read `smtp://[user:password@]host:port` or `smtps://…`. Raises a validation error that does not repeat the URL."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        # Not the error's own text: in a URL with a slash in its password it quotes the password.
        fault = "the port of notice.relay is not a number"
        raise wrong(fault, "in a password write / as %2F and @ as %40") from None
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname or parts.path not in ("", "/") or parts.query:
        raise wrong("notice.relay is not a valid URL", f"{_RELAY_REMEDY}; in a password write / as %2F and @ as %40")
    tls = parts.scheme == "smtps"
    login = unquote(parts.username or ""), unquote(parts.password or "")
    return RelayAddress(parts.hostname, port or (465 if tls else 587), tls, *login)
