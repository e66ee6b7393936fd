"""Checks of arguments. Each returns the value to send, or raises InvalidArgument with the documented name of the parameter."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from ipaddress import ip_address
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

from email_validator import EmailNotValidError, validate_email

from mailbridge.errors import InvalidArgument
from mailbridge.myfax.values import FIRST, LAST, e164

T = TypeVar("T", str, int)


class Secret(Protocol):
    """A text that does not show in logs and tracebacks, such as pydantic's SecretStr."""

    def get_secret_value(self) -> str:
        """Return the text."""


def plain(secret: Secret | str) -> str:
    """Return the text of a secret."""
    return secret if isinstance(secret, str) else secret.get_secret_value()


def text(field: str, value: str, limit: int | None = None) -> str:
    """Return a text of at most `limit` characters. Raises InvalidArgument."""
    if limit is not None and len(value) > limit:
        raise InvalidArgument(field, f"it has {len(value)} characters; at most {limit} are allowed")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidArgument(field, "it has characters that cannot be encoded as UTF-8") from None
    return value


def required(field: str, value: str) -> str:
    """Return a text that is not empty. Raises InvalidArgument."""
    if not value.strip():
        raise InvalidArgument(field, "it is empty")
    return text(field, value)


def email(field: str, value: str, limit: int | None = None) -> str:
    """Return a valid mail address, of at most `limit` characters. Raises InvalidArgument."""
    text(field, value, limit)
    try:
        validate_email(value, check_deliverability=False)
    except EmailNotValidError as error:
        raise InvalidArgument(field, f"invalid mail address: {error}") from None
    return value


def number(field: str, value: str, region: str) -> str:
    """Return a number that can be dialled, as it was given. Raises InvalidArgument."""
    if e164(value, region) is None:
        raise InvalidArgument(field, "not a complete phone number; write it like 03-9876543 or +97239876543")
    return value.strip()


def international(field: str, value: str) -> str:
    """Return a number with its country code in E.164. Raises InvalidArgument."""
    found = e164(value) if value.strip().startswith("+") else None
    if found is None:
        raise InvalidArgument(field, "not an international phone number; write it like +97239876543")
    return found


def one_of(field: str, value: T, allowed: Collection[T]) -> T:
    """Return a value that is one of those `allowed` by MyFax's document. Raises InvalidArgument."""
    if isinstance(value, bool) or value not in allowed:
        raise InvalidArgument(field, f"it must be {' or '.join(str(one) for one in allowed)}")
    return value


def web_address(field: str, value: str) -> str:
    """Return the address of a file on the web. Raises InvalidArgument."""
    try:
        parts = urlsplit(text(field, value))
        found = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        found = False
    if not found or any(character.isspace() for character in value):
        raise InvalidArgument(field, "not a web address; write it like https://example.co.il/contract.pdf")
    return value


def service(field: str, value: str) -> str:
    """Return the address of the service, with a slash at its end; plain http only on loopback. Raises InvalidArgument."""
    parts = urlsplit(web_address(field, value))
    if parts.scheme != "https" and not _loopback(parts.hostname or ""):
        raise InvalidArgument(
            field, "plain http sends the password in clear text; use it only for a MyFax simulator on this machine"
        )
    return value if value.endswith("/") else f"{value}/"


def aware(field: str, value: datetime) -> datetime:
    """Return an aware time whose year exists in every zone. Raises InvalidArgument."""
    if value.utcoffset() is None:
        raise InvalidArgument(field, "it has no time zone")
    if not FIRST < value.year < LAST:
        raise InvalidArgument(field, f"the year {value.year} is out of range")
    return value


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
