"""Is a mail really from MyFax? By DKIM, by what our own mail server says of it, or by a mailbox that nobody else can reach."""

from __future__ import annotations

import re
import time
from collections import Counter
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
_HEAD_ENDS = re.compile(rb"\r?\n\r?\n")


def is_trusted(content: bytes, trust: str, senders: Sequence[str], dnsfunc: Callable[..., Any] | None = None) -> bool:
    """Return whether the mail passes `trust` (`none`, `dkim` or `authserv:ID`) for one of `senders` (domains or addresses).

    Blocking where DKIM asks the DNS; `dnsfunc(name, timeout=…)` returns a TXT record's bytes and stands in for the DNS in tests.
    Never raises: what cannot be verified is not trusted.
    """
    if trust == "none":
        return True
    try:
        message = _read(content)
        domains = _sender_domains(message, senders)
        if not domains:
            return False
        if trust.startswith("authserv:"):
            return _vouched(message, trust.removeprefix("authserv:").strip(), domains)
        return trust == "dkim" and _signed(content, message, domains, dnsfunc)
    except Exception:  # dkimpy and the header parser raise many kinds on hostile mail; none of them may pass it
        return False


def would_pass(content: bytes, senders: Sequence[str], dnsfunc: Callable[..., Any] | None = None) -> list[str]:
    """Return which settings besides `none` the mail passes, `authserv:` with the ID that its topmost result names."""
    settings = ["dkim"]
    try:
        head, _ = _results(_read(content))
        settings += [f"authserv:{head[0]}"] if head else []
    except Exception:  # as above
        pass
    return [trust for trust in settings if is_trusted(content, trust, senders, dnsfunc)]


def _read(content: bytes) -> Message:
    """Return the headers. Raises HeaderParseError where dkimpy would read others, or one is doubled.

    A bare CR, for one, ends a line for us and not for dkimpy: so a header could be read that no signature speaks of.
    """
    end = _HEAD_ENDS.search(content)
    head = content[: end.start()] if end else content
    message = BytesHeaderParser(policy=compat32).parsebytes(head + b"\r\n\r\n")
    names = [name.lower() for name in message.keys()]  # noqa: SIM118 (a Message is no mapping: keys() repeats a repeated name)
    if names != [name.decode().lower() for name, _ in dkim.rfc822_parse(head)[0]]:
        raise HeaderParseError("the header can be read in two ways")
    once = Counter(name for name in names if name in ("from", "subject") or name.startswith("x-fax-"))
    if max(once.values(), default=0) > 1:
        raise HeaderParseError("a header is doubled: which of them was signed?")
    return message


def _sender_domains(message: Message, senders: Sequence[str]) -> list[str]:
    """Return the domains that may vouch for this mail: those of the configured senders that its one From address is."""
    addresses = getaddresses([str(message["from"])])
    if len(addresses) != 1:
        return []
    address = addresses[0][1].lower()
    domain = address.rpartition("@")[2]
    wanted = [sender.lower().strip(".@ ") for sender in senders]
    return [name.rpartition("@")[2] for name in wanted if address == name or _within(domain, [name])]


def _within(domain: str, domains: Sequence[str]) -> bool:
    domain = domain.lower().rstrip(".")
    return any(domain == name or domain.endswith("." + name) for name in domains)


def _signed(content: bytes, message: Message, domains: Sequence[str], dnsfunc: Callable[..., Any] | None) -> bool:
    fax = {name.lower() for name in message.keys() if name.lower().startswith("x-fax-")}  # noqa: SIM118 (as above)
    must = {"from", "subject"} | fax
    signatures = message.get_all("dkim-signature", [])[:MAX_SIGNATURES]
    ask = {} if dnsfunc is None else {"dnsfunc": dnsfunc}
    for index, signature in enumerate(signatures):
        if _covers(str(signature), must, domains):
            try:
                if dkim.DKIM(content).verify(idx=index, **ask):
                    return True
            except Exception:  # one that cannot be verified says nothing of the next
                continue
    return False


def _covers(signature: str, must: set[str], domains: Sequence[str]) -> bool:
    """Whether a signature, if it is good, says enough: of the domain, of every header used, of the whole body (no `l=`), and now.

    dkimpy would believe it for ten hours after its end; like dkimpy's own look at the time, this one is at the system's clock.
    """
    try:
        tags = parse_tag_value(signature.encode("ascii", "replace"))
    except InvalidTagValueList:
        return False
    covered = {name.strip().lower() for name in tags.get(b"h", b"").decode().split(":")}
    domain = tags.get(b"d", b"").decode()
    end = tags.get(b"x")
    valid = end is None or (end.isdigit() and len(end) <= 12 and time.time() <= int(end))
    whole = b"l" not in tags and tags.get(b"a") in _ALGORITHMS
    return valid and whole and must <= covered and _within(domain, domains)


def _vouched(message: Message, authserv: str, domains: Sequence[str]) -> bool:
    """RFC 8601: believe only the topmost Authentication-Results; those below may have come with the mail."""
    head, results = _results(message)
    if not head or head[0].lower() != authserv.lower() or head[1:] not in ([], ["1"]):
        return False
    return any(_passes(result, domains) for result in results)


def _results(message: Message) -> tuple[list[str], list[str]]:
    """Return the words before the first semicolon (the server's ID, perhaps a version), and the results after it."""
    found = message.get_all("authentication-results", [])
    if not found:
        return [], []
    head, *results = _split(_without_comments(" ".join(str(found[0]).split())))
    # Some servers leave their ID out and begin with a result.
    return ([] if "=" in head else head.split()), results


def _passes(result: str, domains: Sequence[str]) -> bool:
    """Whether a result says that DKIM passed for one of the domains. Gmail names the signer by `header.i` alone."""
    words = re.sub(r"\s*=\s*", "=", result).split()
    if not words or words[0].lower() not in ("dkim=pass", "dkim/1=pass"):
        return False
    pairs = [word.lower().partition("=") for word in words[1:]]
    named = [value for key, _, value in pairs if key == "header.d"]
    named = named or [value.rpartition("@")[2] for key, _, value in pairs if key == "header.i"]
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
