"""The arguments of MAIL and RCPT: a path and its parameters, with the parameters' values as they came. Pure."""

from __future__ import annotations

import re

from mailbridge.errors import Refused

_QUOTED = r'"(?:\\.|[^"\\])*"'
_ANGLE = rf'<(?:{_QUOTED}|[^"<>])*>'
# A display name, which RFC 5321 section 4.1.2 forbids and some devices send. A blank must follow a bare word: the `<` in a
# parameter such as AUTH=<> begins no address.
_NAME = rf'(?:{_QUOTED}\s*|[^\s<>"]+\s+)+'
_PATH = re.compile(
    rf"(?:<\s*(?:{_NAME})?(?P<inner>{_ANGLE})\s*>|(?:{_NAME})?(?P<outer>{_ANGLE})|(?P<bare>[^\s<>]+))(?:\s+(?P<rest>.*))?",
    re.DOTALL,
)
# Control characters, and bytes that are not UTF-8.
_NO_TEXT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_ROUTE = re.compile(r"^@[^:]*:")
_UNREADABLE = "553 5.1.3 The address cannot be read; write the bare address in angle brackets, such as <scan@office.example>"
# RFC 3461 section 4: xtext.
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+")
# The type of an address in ORCPT: an atom, such as rfc822. It stands in a line of a DSN's header.
_ADDRESS_TYPE = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]{1,40}", re.ASCII)
_NOTIFY = {"SUCCESS", "FAILURE", "DELAY"}


def parse_path(arg: str | None, keyword: str) -> tuple[str, dict[str, str]]:
    """Split `FROM:<address> KEY=value …`; keys come in capitals, values as written, a source route is dropped.

    A display name around the address, as in `"Scanner" <address>` or `<Scanner <address>>`, is dropped too. Raises Refused:
    501 5.5.4 for bad syntax, 553 5.1.3 for an address with control characters or broken UTF-8.
    """
    if arg is None or arg[: len(keyword)].upper() != keyword:
        raise Refused(f"501 5.5.4 Syntax: {'MAIL' if keyword == 'FROM:' else 'RCPT'} {keyword}<address>")
    found = _PATH.fullmatch(arg[len(keyword) :].strip())
    if found is None:
        raise Refused(_UNREADABLE)
    path = found["inner"] or found["outer"]
    address = _ROUTE.sub("", path[1:-1].strip(), count=1) if path else found["bare"]
    if _NO_TEXT.search(address) or len(address) > 320:
        raise Refused(_UNREADABLE)
    return address, _parameters(found["rest"] or "")


def _parameters(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in text.split():
        key, equals, value = word.partition("=")
        if not key.isascii() or not key.isalnum() or (equals and not value) or key.upper() in found:
            raise Refused("501 5.5.4 Invalid parameter")
        found[key.upper()] = value
    return found


def check_mail(parameters: dict[str, str], max_size: int) -> None:
    """Check MAIL's parameters: SIZE, BODY, SMTPUTF8, AUTH, RET and ENVID (RFC 1870, 6152, 6531, 4954, 3461). Raises Refused."""
    _only(parameters, {"SIZE", "BODY", "SMTPUTF8", "AUTH", "RET", "ENVID"})
    size = parameters.get("SIZE", "0")
    if not (size.isascii() and size.isdigit() and len(size) <= 20):
        raise Refused("501 5.5.4 SIZE must be a number of bytes")
    if int(size) > max_size:
        raise Refused(f"552 5.3.4 The mail is larger than the limit of {max_size} bytes")
    if parameters.get("BODY", "7BIT").upper() not in ("7BIT", "8BITMIME"):
        raise Refused("501 5.5.4 BODY must be 7BIT or 8BITMIME")
    if parameters.get("RET", "FULL").upper() not in ("FULL", "HDRS"):
        raise Refused("501 5.5.4 RET must be FULL or HDRS")
    envid = parameters.get("ENVID", "x")
    if not _XTEXT.fullmatch(envid) or len(envid) > 100:
        raise Refused("501 5.5.4 Invalid ENVID")


def check_rcpt(parameters: dict[str, str]) -> None:
    """Check RCPT's parameters: NOTIFY and ORCPT (RFC 3461). Raises Refused."""
    _only(parameters, {"NOTIFY", "ORCPT"})
    notify = parameters.get("NOTIFY", "NEVER").upper().split(",")
    if notify != ["NEVER"] and not set(notify) <= _NOTIFY:
        raise Refused("501 5.5.4 NOTIFY must be NEVER, or some of SUCCESS, FAILURE and DELAY")
    kind, semicolon, address = parameters.get("ORCPT", "rfc822;x").partition(";")
    readable = _ADDRESS_TYPE.fullmatch(kind) and semicolon and address.isprintable() and len(address) <= 500
    # RFC 6533 section 3: a utf-8 address comes as it is, or in one of two ASCII forms.
    if not (readable and (_XTEXT.fullmatch(address) or kind.casefold() == "utf-8")):
        raise Refused("501 5.5.4 Invalid ORCPT")


def _only(parameters: dict[str, str], known: set[str]) -> None:
    for key in parameters:
        if key not in known:
            raise Refused(f"555 5.5.4 Unknown parameter {key[:40]}")
