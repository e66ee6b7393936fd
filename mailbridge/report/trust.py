"""The third step of the pipeline: is a mail really from MyFax?

Three answers are configured (`mailbox.NAME.trust`): by DKIM, by what our own mail server wrote into Authentication-Results, or
always, for a mailbox that nobody else can reach. A mail that is not trusted is reported and changes no fax.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from email.errors import HeaderParseError
from email.message import Message
from email.parser import BytesHeaderParser
from email.policy import compat32
from email.utils import getaddresses
from functools import partial
from typing import Any

import dkim
from dkim.util import InvalidTagValueList, parse_tag_value

from mailbridge.model import Report
from mailbridge.report.authentication_results import passed, read_results
from mailbridge.report.mail_body import Attachment
from mailbridge.report.parser import ParsedMail

# Signatures that are tried, from the top.
MAX_SIGNATURES = 5

_ALGORITHMS = (b"rsa-sha256", b"ed25519-sha256")
_HEAD_ENDS = re.compile(rb"\r?\n\r?\n")

# Fields that decide what a mail says, besides the X-Fax fields. Each may stand once. From and Subject must be signed, and so must
# those of the others that are there: a Date or a Content-Transfer-Encoding that was added says something else.
_SIGNED_IF_THERE = frozenset(("date", "message-id", "content-type", "content-transfer-encoding"))
_DECISIVE = _SIGNED_IF_THERE | {"from", "subject", "to", "mime-version", "content-disposition"}

# Returns a DNS TXT record: `resolve(name, timeout=…)`.
Resolve = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class VerifiedMail:
    """A parsed mail whose `report.trusted` is set. Its bytes are not needed any more."""

    uid: int
    report: Report
    digest: str
    attachments: tuple[Attachment, ...] = ()


def verify(parsed: ParsedMail, trust: str, senders: Sequence[str], resolve: Resolve | None = None) -> VerifiedMail:
    """Set `report.trusted`. A mail with defects is never trusted. The arguments, and blocking, are those of `is_trusted`."""
    trusted = not parsed.report.defects and is_trusted(parsed.mail.content, trust, senders, resolve)
    return VerifiedMail(parsed.mail.uid, replace(parsed.report, trusted=trusted), parsed.digest, parsed.attachments)


def is_trusted(content: bytes, trust: str, senders: Sequence[str], resolve: Resolve | None = None) -> bool:
    """Return whether the mail passes `trust` (`none`, `dkim` or `authserv:ID`) for one of `senders` (domains or addresses).

    Blocks where DKIM queries the DNS; `resolve` replaces the DNS in tests. Never raises: what cannot be verified is not trusted.
    """
    if trust == "none":
        return True
    try:
        message = _read_header(content)
        domains = _sender_domains(message, senders)
        if not domains:
            return False
        is_sender = partial(_within, domains=domains)
        if trust.startswith("authserv:"):
            authserv = trust.removeprefix("authserv:").strip()
            return passed(message, authserv, is_sender) and _signature_fits(message, is_sender)
        return trust == "dkim" and _signed(content, message, is_sender, resolve)
    except Exception:  # dkimpy and the header parser raise many kinds on hostile mail; none of them may pass it
        return False


def would_pass(content: bytes, senders: Sequence[str], resolve: Resolve | None = None) -> list[str]:
    """Return which settings besides `none` the mail passes, `authserv:` with the ID that its topmost result names."""
    settings = ["dkim"]
    try:
        head, _ = read_results(_read_header(content))
        settings += [f"authserv:{head[0]}"] if head else []
    except Exception:  # as above
        pass
    return [trust for trust in settings if is_trusted(content, trust, senders, resolve)]


def _read_header(content: bytes) -> Message:
    """Return the header. Raises HeaderParseError where dkimpy would read other fields, or a field that must be unique is not.

    A bare CR, for one, ends a line for stdlib and not for dkimpy: a field could be read that no signature covers.
    """
    end = _HEAD_ENDS.search(content)
    head = content[: end.start()] if end else content
    message = BytesHeaderParser(policy=compat32).parsebytes(head + b"\r\n\r\n")
    names = [name.lower() for name in message.keys()]  # noqa: SIM118 (a Message is no mapping: keys() repeats a repeated name)
    if names != [name.decode().lower() for name, _ in dkim.rfc822_parse(head)[0]]:
        raise HeaderParseError("the header can be read in two ways")
    counts = Counter(name for name in names if name in _DECISIVE or name.startswith("x-fax-"))
    if max(counts.values(), default=0) > 1:
        raise HeaderParseError("a field is repeated: which of them was signed?")
    return message


def _sender_domains(message: Message, senders: Sequence[str]) -> list[str]:
    """Return the domains whose signature is accepted: those of the configured senders that match the one From address."""
    addresses = getaddresses([str(message["from"])])
    if len(addresses) != 1:
        return []
    address = addresses[0][1].lower()
    domain = address.rpartition("@")[2]
    wanted = [sender.lower().strip(".@ ") for sender in senders]
    return [name.rpartition("@")[2] for name in wanted if address == name or _within(domain, [name])]


def _within(domain: str, domains: Sequence[str]) -> bool:
    """Whether a domain is one of `domains`, or below one."""
    domain = domain.lower().rstrip(".")
    return any(domain == name or domain.endswith("." + name) for name in domains)


def _signed(content: bytes, message: Message, is_sender: Callable[[str], bool], resolve: Resolve | None) -> bool:
    """Whether a DKIM signature (RFC 6376) of the sender covers every header that is used, and verifies."""
    used = _used(message)
    signatures = message.get_all("dkim-signature", [])[:MAX_SIGNATURES]
    options = {} if resolve is None else {"dnsfunc": resolve}
    for index, signature in enumerate(signatures):
        if _covers(str(signature), used, is_sender):
            try:
                if dkim.DKIM(content).verify(idx=index, **options):
                    return True
            except Exception:  # one that cannot be verified says nothing about the next
                continue
    return False


def _used(message: Message) -> set[str]:
    """Return the names of the fields that a signature must cover. Who was addressed decides about a received fax."""
    names = {name.lower() for name in message.keys()}  # noqa: SIM118 (as above)
    used = {"from", "subject"} | (names & _SIGNED_IF_THERE) | {name for name in names if name.startswith("x-fax-")}
    return used | (names & {"to"} if "x-fax-sender" in names else set())


def _signature_fits(message: Message, is_sender: Callable[[str], bool]) -> bool:
    """Whether the signatures in a mail allow what our own server says of them.

    The server verified them, but not that they cover what is used: each one of the sender must. A mail whose signatures are all
    of others has not passed for the sender. One without any may have lost them in the server.
    """
    signatures = [str(signature) for signature in message.get_all("dkim-signature", [])[:MAX_SIGNATURES]]
    if not signatures:
        return True
    used, own = _used(message), [one for one in signatures if is_sender(_signer(one))]
    return bool(own) and all(_covers(one, used, is_sender) for one in own)


def _signer(signature: str) -> str:
    try:
        return bytes(parse_tag_value(signature.encode("ascii", "replace")).get(b"d", b"")).decode()
    except InvalidTagValueList:
        return ""


def _covers(signature: str, used: set[str], is_sender: Callable[[str], bool]) -> bool:
    """Whether a signature, if it verifies, proves enough (RFC 6376 section 3.5).

    That is: of the sender's domain (`d=`), over every header used (`h=`), over the whole body (no `l=`), and not expired (`x=`).
    dkimpy would accept it for ten hours after `x=`. Like dkimpy's own check, this one uses the system's clock.
    """
    try:
        tags = parse_tag_value(signature.encode("ascii", "replace"))
    except InvalidTagValueList:
        return False
    covered = {name.strip().lower() for name in tags.get(b"h", b"").decode().split(":")}
    domain = tags.get(b"d", b"").decode()
    expires = tags.get(b"x")
    valid = expires is None or (expires.isdigit() and len(expires) <= 12 and time.time() <= int(expires))
    whole = b"l" not in tags and tags.get(b"a") in _ALGORITHMS
    return valid and whole and used <= covered and is_sender(domain)
