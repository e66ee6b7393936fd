"""The second step of the pipeline: a fetched mail becomes a parsed one, with its Report. Pure. Nothing in here raises."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, tzinfo
from email.utils import getaddresses

from mailbridge.model import Report
from mailbridge.report.imap_responses import FetchedMail
from mailbridge.report.mail_body import MAX_DOCUMENTS, MAX_TEXT, Attachment, read_body
from mailbridge.report.mail_header import Fields, decode, first, read_date, read_fields

# Repeated header fields that are listed as defects.
MAX_DEFECTS = 10

_CODE = re.compile(r"[0-9]{1,4}", re.ASCII)
_DIALLED = re.compile(r"\+?[0-9][0-9-]{6,18}", re.ASCII)
_TO_NUMBER = re.compile(r"(?:\bto\b|->|אל|למספר)\s*:?\s*(\+?[0-9][0-9-]{6,18}[0-9])", re.IGNORECASE | re.ASCII)
# Fields that identify a mail, besides its X-Fax fields. Those of a signed mail are signed (see `trust`): neither a field that no
# signature covers, nor a longer mail, makes another mail of it.
_IDENTIFYING = ("message-id", "date")
_IDENTIFYING_SIGNED = (*_IDENTIFYING, "subject", "content-type")
# X-Fax headers with a field of their own in a report. The others may name the fax as well as its text does.
_WITH_FIELD = ("x-fax-status", "x-fax-status-code", "x-fax-subject", "x-fax-sender")


@dataclass(frozen=True, slots=True)
class ParsedMail:
    """A mail from MyFax, or one that claims to be. `report.trusted` is not set yet.

    `digest` identifies the mail by its content: it stays the same when the server numbers its mails anew.
    """

    mail: FetchedMail
    report: Report
    digest: str
    attachments: tuple[Attachment, ...] = ()


def has_fax_field(mail: FetchedMail) -> bool:
    """Whether a mail, or a part of its header, has an X-Fax header."""
    return any(name.startswith("x-fax-") for name, _ in read_fields(mail.content))


def digest(mail: FetchedMail) -> str | None:
    """Return the digest of a fax mail, or None for a mail without X-Fax headers. The mail's header is enough."""
    fields = read_fields(mail.content)
    fax = [(name, value) for name, value in fields if name.startswith("x-fax-")]
    if not fax:
        return None
    signed = any(name == "dkim-signature" for name, _ in fields)
    named = [(name, value) for name, value in fields if name in (_IDENTIFYING_SIGNED if signed else _IDENTIFYING)]
    text = "\n".join(f"{name}:{' '.join(value.split())}" for name, value in sorted(named + fax))
    return hashlib.sha256(f"{text}\n{'' if signed else mail.size}".encode("utf-8", "surrogateescape")).hexdigest()


def parse(mail: FetchedMail, zone: tzinfo = UTC, addresses: Collection[str] | None = None) -> ParsedMail:
    """Parse a fax mail. A mail that has a fault is parsed by its header alone.

    `zone` is that of a Date without one. `addresses` are ours, in lower case; None are all.
    """
    parsed = _parse(mail, zone)
    if addresses is None:
        return parsed
    addressed = any(address in addresses for address in _addressees(read_fields(mail.content)))
    return replace(parsed, report=replace(parsed.report, addressed=addressed))


def _parse(mail: FetchedMail, zone: tzinfo) -> ParsedMail:
    name = digest(mail)
    if name is None:
        return _header_alone(mail, mail.fault or "the mail lost its X-Fax headers", zone)
    if mail.fault is not None:
        return _header_alone(mail, mail.fault, zone)
    fields = read_fields(mail.content)
    report = _report(fields, zone)
    try:
        text, attachments = read_body(mail.content, with_documents=report.kind == "incoming")
    except Exception as error:  # as in read_fields
        return _header_alone(mail, f"the body cannot be read ({type(error).__name__})", zone)
    named = [decode(value) for field, value in fields if field.startswith("x-fax-") and field not in _WITH_FIELD]
    text = "\n".join([first(fields, "subject"), *named, text])[:MAX_TEXT]
    if len(attachments) > MAX_DOCUMENTS:
        defect = f"the mail has {len(attachments)} documents; the first {MAX_DOCUMENTS} are kept"
        report = replace(report, defects=(*report.defects, defect))
    return ParsedMail(mail, replace(report, text=text), name, tuple(attachments[:MAX_DOCUMENTS]))


def _header_alone(mail: FetchedMail, defect: str, zone: tzinfo) -> ParsedMail:
    name = digest(mail) or hashlib.sha256(mail.content).hexdigest()
    report = _report(read_fields(mail.content), zone)
    return ParsedMail(mail, replace(report, defects=(*report.defects, defect)), name)


def _report(fields: Fields, zone: tzinfo) -> Report:
    names = {name for name, _ in fields}
    incoming = "x-fax-sender" in names and "x-fax-status" not in names
    status, code = first(fields, "x-fax-status"), first(fields, "x-fax-status-code")
    defects = [] if incoming else _report_defects(status, code, names)
    return Report(
        kind="incoming" if incoming else "report",
        status=status if "x-fax-status" in names else None,
        status_code=int(code) if _CODE.fullmatch(code) else None,
        subject=first(fields, "x-fax-subject") or first(fields, "subject"),
        sender=first(fields, "x-fax-sender")[:100] if "x-fax-sender" in names else None,
        message_id=first(fields, "message-id") or None,
        date=read_date(first(fields, "date"), zone),
        to=_called_number(fields) if incoming else None,
        defects=(*_repeated(fields), *defects),
    )


def _repeated(fields: Fields) -> list[str]:
    """Return a defect for each field that must be unique and is not: nobody could say which of them was meant, or signed."""
    counts = Counter(name for name, _ in fields if name.startswith("x-fax-") or name in ("from", "subject"))
    names = sorted(name for name, count in counts.items() if count > 1)[:MAX_DEFECTS]
    return [f"{name[:40]} occurs {counts[name]} times" for name in names]


def _report_defects(status: str, code: str, names: set[str]) -> list[str]:
    defects = []
    if status.lower() not in ("success", "fail"):
        defects.append("X-Fax-Status is neither Success nor Fail")
    if not _CODE.fullmatch(code):
        defects.append("X-Fax-Status-Code is not a number" if code else "X-Fax-Status-Code is missing")
    if "x-fax-sender" in names:
        defects.append("a report must not have X-Fax-Sender")
    return defects


def _addressees(fields: Fields) -> tuple[str, ...]:
    try:
        return tuple(address.lower() for _, address in getaddresses([first(fields, "to")]) if address)
    except (ValueError, IndexError, TypeError):
        return ()


def _called_number(fields: Fields) -> str | None:
    """Return the called number: To is addressed to a number, or the subject says `to NUMBER`."""
    local = [address.partition("@")[0] for address in _addressees(fields)]
    numbers = [part for part in local if _DIALLED.fullmatch(part)]
    in_subject = _TO_NUMBER.search(first(fields, "subject"))
    return numbers[0] if numbers else in_subject[1] if in_subject else None
