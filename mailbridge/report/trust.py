"""Is a mail really from MyFax? By DKIM, by what our own mail server says of it, or by a mailbox that nobody else can reach."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from email.errors import HeaderParseError
from email.message import Message
from email.parser import BytesHeaderParser
from email.policy import compat32
from email.utils import getaddresses
from typing import Any

import dkim
from dkim.util import InvalidTagValueList, parse_tag_value

MAX_SIGNATURES = 5
_ALGORITHMS = (b"rsa-sha256", b"ed25519-sha256")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


def is_trusted(content: bytes, trust: str, senders: Sequence[str], dnsfunc: Callable[..., Any] | None = None) -> bool:
    """Return whether the mail passes `trust` (`none`, `dkim` or `authserv:ID`) for one of `senders` (domains or addresses).

    Blocking where DKIM asks the DNS; `dnsfunc(name, timeout=…)` returns a TXT record's bytes and stands in for the DNS in tests.
    Never raises: what cannot be verified is not trusted.
    """
    if trust == "none":
        return True
    try:
        message = BytesHeaderParser(policy=compat32).parsebytes(content)
        if not _is_from(message, senders):
            return False
        domains = tuple(sender.rpartition("@")[2].lower() for sender in senders)
        if trust.startswith("authserv:"):
            return _vouched(message, trust.removeprefix("authserv:"), domains)
        return trust == "dkim" and _signed(content, message, domains, dnsfunc)
    except Exception:  # dkimpy and the header parser raise many kinds on hostile mail; none of them may pass it
        return False


def _is_from(message: Message, senders: Sequence[str]) -> bool:
    """One From with one address, which is a configured one; a second Subject would leave open which one was signed."""
    found = message.get_all("from", [])
    if len(found) != 1 or len(message.get_all("subject", [])) > 1:
        return False
    addresses = getaddresses([str(found[0])])
    if len(addresses) != 1:
        return False
    address = addresses[0][1].lower()
    wanted = [sender.lower() for sender in senders]
    return address in wanted or _within(address.rpartition("@")[2], [name for name in wanted if "@" not in name])


def _within(domain: str, domains: Sequence[str]) -> bool:
    domain = domain.lower().rstrip(".")
    return any(domain == name or domain.endswith("." + name) for name in domains)


def _signed(content: bytes, message: Message, domains: Sequence[str], dnsfunc: Callable[..., Any] | None) -> bool:
    must = {"from", "subject"} | {name.lower() for name in message.keys() if name.lower().startswith("x-fax-")}  # noqa: SIM118
    signatures = message.get_all("dkim-signature", [])[:MAX_SIGNATURES]
    ask = {} if dnsfunc is None else {"dnsfunc": dnsfunc}
    for index, signature in enumerate(signatures):
        if _covers(str(signature), must, domains):
            try:
                if dkim.DKIM(content).verify(idx=index, **ask):
                    return True
            except dkim.DKIMException:
                continue
    return False


def _covers(signature: str, must: set[str], domains: Sequence[str]) -> bool:
    """Whether a signature, if it is good, says enough: of the domain, of every header used, and of the whole body (no `l=`)."""
    try:
        tags = parse_tag_value(signature.encode("ascii", "replace"))
    except InvalidTagValueList:
        return False
    covered = {name.strip().lower() for name in tags.get(b"h", b"").decode().split(":")}
    domain = tags.get(b"d", b"").decode()
    return b"l" not in tags and tags.get(b"a") in _ALGORITHMS and must <= covered and _within(domain, domains)


def _vouched(message: Message, authserv: str, domains: Sequence[str]) -> bool:
    """RFC 8601: believe only the topmost Authentication-Results; those below may have come with the mail."""
    found = message.get_all("authentication-results", [])
    if not found:
        return False
    head, *results = _split(_without_comments(" ".join(str(found[0]).split())))
    if not head.split() or head.split()[0].lower() != authserv.lower():
        return False
    return any(_passes(result, domains) for result in results)


def _passes(result: str, domains: Sequence[str]) -> bool:
    words = re.sub(r"\s*=\s*", "=", result).split()
    if not words or words[0].lower() not in ("dkim=pass", "dkim/1=pass"):
        return False
    named = [word.partition("=")[2] for word in words[1:] if word.lower().startswith("header.d=")]
    return len(named) == 1 and _within(named[0], domains)


def _without_comments(value: str) -> str:
    """Drop RFC 5322 comments, nested ones too; a quoted string is kept. Raises HeaderParseError where they do not close."""
    kept, depth, quoted, escaped = [], 0, False, False
    for character in value:
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == '"' and depth == 0:
            quoted = not quoted
        elif character == "(" and not quoted:
            depth += 1
        elif character == ")" and not quoted and depth:
            depth -= 1
            continue
        if depth == 0:
            kept.append(character)
    if depth or quoted:
        raise HeaderParseError("unbalanced")
    return "".join(kept)


def _split(value: str) -> list[str]:
    """Split at semicolons outside quoted strings; a quoted string becomes one word without its blanks and signs."""
    return _QUOTED.sub(lambda match: re.sub(r"[^\w.@-]", "_", match[1]), value).split(";")
