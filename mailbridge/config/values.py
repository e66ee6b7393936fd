"""Types of the values in the configuration, with their validation and errors: durations, sizes, addresses, rules."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_core import PydanticCustomError

_DURATION = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = {"B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3}
_BINARY = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


@dataclass(frozen=True)
class Written:
    """How a number with a unit is written in the file: part of the type of such a key, used for the example file."""

    text: Callable[[float], str]


def wrong(fault: str, remedy: str) -> PydanticCustomError:
    """Return a validation error with this fault and remedy."""
    return PydanticCustomError("mailbridge", "{fault}", {"fault": fault, "remedy": remedy})


def _quantity(value: object, kind: str, units: Mapping[str, float], example: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)", value) if isinstance(value, str) else None
    unit = None if match is None else next((one for one in (*units, *_BINARY) if one.lower() == match[2].lower()), None)
    if match is None or unit is None or (unit in _BINARY and units is not _SIZE):
        raise wrong(f"{value!r} is not a {kind}", f'write a number with a unit ({", ".join(units)}), such as "{example}"')
    return float(match[1]) * {**_BINARY, **units}[unit]


def seconds(value: object) -> object:
    """Return a duration such as "30s" in seconds; a float is in seconds already."""
    return value if isinstance(value, float) else _quantity(value, "duration", _DURATION, "30s")


def _duration(value: float) -> str:
    unit = next(unit for unit, length in reversed(_DURATION.items()) if value % length == 0 and value >= 2 * length)
    return f"{value / _DURATION[unit]:.0f}{unit}"


def _size(value: float) -> str:
    unit = next(unit for unit, length in reversed(_SIZE.items()) if value % length == 0)
    return f"{value / _SIZE[unit]:.0f}{unit}"


def _positive(value: float) -> float:
    if value == 0:
        raise wrong("must be longer than zero", 'write a duration such as "30s"')
    return value


def _interval(value: object) -> object:
    found = None if value == "off" else seconds(value)
    if found == 0:
        raise wrong("must be longer than zero", 'write "off", or a duration such as "10m"')
    return found


def _bytes(value: object) -> object:
    return int(_quantity(value, "size", _SIZE, "40MB"))


def email_address(value: object, remedy: str) -> str:
    """Return a valid email address in its usual form. Raises a validation error with this remedy."""
    try:
        return validate_email(str(value), check_deliverability=False, test_environment=True).normalized
    except EmailNotValidError as error:
        raise wrong(f"{value!r} is not a valid email address ({error})", remedy) from None


def _login(value: object) -> object:
    return email_address(value, "write the email address of your MyFax login")


def _filled(value: object) -> object:
    if value == "":
        raise wrong("is empty", "set it, or check the file or variable that it comes from")
    return value


def _some(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise wrong("is empty", "list at least one, or remove the key")
    return value


def _hash(value: object) -> object:
    # The message does not repeat the value, which may be the password itself.
    if value and re.fullmatch(r"scrypt(\$\d+){3}(\$[A-Za-z0-9+/=]+){2}", str(value)) is None:
        raise wrong("is not a password hash", "generate one with: mailbridge hash-password")
    return _filled(value)


def _zone(value: object) -> object:
    try:
        ZoneInfo(str(value))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise wrong(f"{value!r} is not a known time zone", 'write an IANA name such as "Asia/Jerusalem"') from None
    return value


def _shaped(pattern: str, remedy: str) -> BeforeValidator:
    """Return a validator for strings that `pattern` must match as a whole."""

    def check(value: object) -> object:
        if isinstance(value, str) and re.fullmatch(pattern, value) is None:
            raise wrong(f"{value!r} is not valid", remedy)
        return value

    return BeforeValidator(check)


def _webhook_secrets(value: object) -> object:
    secrets = value if isinstance(value, list | tuple) else [value]
    if not 1 <= len(secrets) <= 2:
        raise wrong("must be one secret, or two during rotation", "keep only the new and the old secret")
    for secret in map(str, secrets):
        if not _is_webhook_secret(secret):
            raise _not_a_webhook_secret(secret)
    return tuple(SecretStr(str(secret)) for secret in secrets)


def _is_webhook_secret(text: str) -> bool:
    try:
        return 24 <= len(base64.b64decode(text.removeprefix("whsec_"), validate=True)) <= 64
    except (binascii.Error, ValueError):
        return False


def _not_a_webhook_secret(text: str) -> PydanticCustomError:
    """Return the error for a text that is no secret of Standard Webhooks, without repeating it."""
    if text.startswith("v1,"):
        return wrong("begins with v1, which is the prefix of a signature", "leave off `v1,`: the secret is what follows, whsec_…")
    if text.startswith(("whpk_", "whsk_")):
        return wrong("is a key of an asymmetric signature (v1a)", "write a symmetric secret, whsec_…")
    within = re.search(r"whsec_[A-Za-z0-9+/]{32,}={0,2}", text)
    if within and within[0] != text and _is_webhook_secret(within[0]):
        return wrong("has more around the secret, such as blanks or quotes", "write only whsec_… and what belongs to it")
    return wrong("is not the base64 encoding of 24 to 64 bytes", 'generate one with: echo "whsec_$(openssl rand -base64 32)"')


def _tags(value: object) -> object:
    """Return alternatives, each a tuple of tags that are all needed: a list has one tag in each, a table all in one."""
    if isinstance(value, dict):
        return (tuple((str(key), str(wanted)) for key, wanted in value.items()),) if value else ()
    if not isinstance(value, list) or not all(isinstance(one, str) and one.strip() for one in value):
        return value if isinstance(value, tuple) else _no_tags(value)
    pairs = [one.partition("=") for one in value]
    return tuple(((key.strip(), wanted.strip() if equals else "*"),) for key, equals, wanted in pairs)


def _no_tags(value: object) -> object:
    raise wrong(f"{value!r} names no tags", 'write a list such as ["case=1723"], or a table such as { case = "1723" }')


def _country(value: str) -> str:
    import phonenumbers

    if len(value) == 2 and value.upper() not in phonenumbers.SUPPORTED_REGIONS:
        raise wrong(f"{value!r} is not a known country", 'write a two-letter code of ISO 3166, such as "IL" or "GB"')
    return value


def _network(value: object) -> object:
    """Accept an address or a network of IPv4 or IPv6, but not the whole internet."""
    try:
        network = ipaddress.ip_network(str(value), strict=False)
    except ValueError:
        remedy = 'write an address or a network, such as "192.168.1.20" or "192.168.1.0/24"'
        raise wrong(f"{value!r} is not a network", remedy) from None
    if network.prefixlen == 0:
        raise wrong(f"{value!r} is every address", "name the network of your devices, or let clients log in")
    return str(network)


# Durations are in seconds, None means "off"; sizes are in bytes.
Duration = Annotated[float, BeforeValidator(seconds), Written(_duration)]
PositiveDuration = Annotated[float, BeforeValidator(seconds), AfterValidator(_positive), Written(_duration)]
Interval = Annotated[float | None, BeforeValidator(_interval), Written(_duration)]
Size = Annotated[int, BeforeValidator(_bytes), Written(_size)]
Address = Annotated[str, BeforeValidator(_login)]
Port = Annotated[int, Field(ge=1, le=65535)]
Secret = Annotated[SecretStr, BeforeValidator(_filled)]
WebhookSecrets = Annotated[tuple[SecretStr, ...], BeforeValidator(_webhook_secrets)]
Network = Annotated[str, BeforeValidator(_network)]
Hash = Annotated[str, BeforeValidator(_hash)]
Zone = Annotated[str, BeforeValidator(_zone)]
Region = Annotated[
    str, _shaped(r"[A-Z]{2}", 'write a two-letter code of ISO 3166 in capitals, such as "IL"'), AfterValidator(_country)
]
# Everything that `submission.policy` can match. A misspelled rule in numbers.deny would silently allow what it should deny.
Rule = Annotated[
    str,
    _shaped(r"[A-Za-z]{2}|\+\d+|premium|short", 'write a country such as "IL", a prefix such as "+9723", "premium" or "short"'),
    AfterValidator(_country),
]
# A number as people write it, or in E.164, or the beginning of one.
NumberFilter = Annotated[
    str, _shaped(r"\+[0-9][0-9 .()-]*\*?|[0-9][0-9 .()-]*", 'write a number such as "03-9876543", or a prefix such as "+9723"')
]
TagFilter = Annotated[tuple[tuple[tuple[str, str], ...], ...], BeforeValidator(_tags)]
Domain = Annotated[str, _shaped(r"[^@\s]+", 'write the part after the @, such as "fax.internal"')]
Domains = Annotated[tuple[Domain, ...], AfterValidator(_some)]
# A host name or an IPv4 address has no colon, an IPv6 address at least two.
Host = Annotated[
    str,
    _shaped(
        r"[^\s/@:]+|[^\s/@:]*(:[^\s/@:]*){2,}",
        'write only the host name, such as "imap.example.co.il"; the port is a separate key',
    ),
]
After = Annotated[str, _shaped(r"keep|seen|move:.+", 'write "keep", "seen" or "move:FOLDER"')]
Trust = Annotated[str, _shaped(r"dkim|none|authserv:.+", 'write "dkim", "authserv:ID" or "none"')]
