"""A mail's bytes become a Report: the X-Fax headers, the text in which a token may stand, the received document. Pure."""

from __future__ import annotations

import hashlib
import html
import re
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.parser import BytesHeaderParser, BytesParser
from email.policy import compat32
from email.utils import getaddresses, parsedate_to_datetime

from mailbridge.model import Report

MAX_TEXT = 16_000
MAX_HEADER = 256 * 1024
# MyFax's mails have a handful of parts; stdlib takes ten seconds for 100,000.
MAX_PARTS = 500
# One text and the same as HTML are usual; what is said further down is not said to us.
MAX_TEXTS = 10
MAX_DEFECTS = 10

_NOWHERE = re.compile(r":\d\d *-0000\b", re.ASCII)
_CODE = re.compile(r"[0-9]{1,4}", re.ASCII)
_TO_NUMBER = re.compile(r"(?:\bto\b|->|אל|למספר)\s*:?\s*(\+?[0-9][0-9-]{6,18}[0-9])", re.IGNORECASE | re.ASCII)
# Each of these looks at a character once, whatever the mail is.
_OPENS = re.compile(r"<(?:style|script)\b", re.IGNORECASE)
_CLOSES = re.compile(r"</(?:style|script)\b", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>?")
# X-Fax headers of which a report has fields of its own. The others may name the fax as well as its text does.
_READ = ("x-fax-status", "x-fax-status-code", "x-fax-subject", "x-fax-sender")
# What RFC 2045 calls a token, nearly: anything else cannot stand in the header of the answer that hands the document out.
_IMAGE = re.compile(r"image/[\w.+-]+", re.ASCII)
_TYPES = {".pdf": "application/pdf", ".tif": "image/tiff", ".tiff": "image/tiff", ".jpg": "image/jpeg", ".png": "image/png"}
_BEGINS = {b"%PDF-": ".pdf", b"II*\0": ".tif", b"MM\0*": ".tif", b"\xff\xd8\xff": ".jpg", b"\x89PNG\r\n": ".png"}


@dataclass(frozen=True, slots=True)
class Attachment:
    """The document that a mail about an incoming fax carries."""

    filename: str
    content_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail from MyFax, or one that claims to be. `digest` stays the same when a server numbers its mails anew."""

    report: Report
    digest: str
    document: Attachment | None = None


def digest(header: bytes, size: int) -> str | None:
    """Return what names a fax mail whatever its UID; None for a mail without X-Fax headers. `size` is the whole mail's."""
    fields = _fields(header)
    fax = [(name, value) for name, value in fields if name.startswith("x-fax-")]
    if not fax:
        return None
    named = [(name, value) for name, value in fields if name in ("message-id", "date")]
    text = "\n".join(f"{name}:{' '.join(value.split())}" for name, value in sorted(named + fax))
    return hashlib.sha256(f"{text}\n{size}".encode("utf-8", "surrogateescape")).hexdigest()


def parse(content: bytes, size: int | None = None, zone: tzinfo = UTC) -> Mail | None:
    """Read a mail; None where it has no X-Fax header and so is not for us. Never raises, whatever the bytes are.

    `size` is what the server says of the whole mail, in bytes; it goes into the digest. `zone` is that of a Date without one.
    """
    size = len(content) if size is None else size
    name = digest(content, size)
    if name is None:
        return None
    fields = _fields(content)
    report = _headers(fields, zone)
    try:
        text, document = _body(content, report.kind == "incoming")
    except Exception as error:  # stdlib's parser has raised a dozen kinds on hostile mail, RecursionError among them
        return Mail(replace(report, defects=(*report.defects, f"the body cannot be read ({type(error).__name__})")), name)
    told = [
        _first(fields, "subject"),
        *(decode(value) for field, value in fields if field.startswith("x-fax-") and field not in _READ),
    ]
    return Mail(replace(report, text="\n".join([*told, text])[:MAX_TEXT]), name, document)


def broken(content: bytes, size: int, why: str, zone: tzinfo = UTC) -> Mail:
    """Return what can be told of a mail that cannot be read further: its headers, and the reason as a defect."""
    name = digest(content, size) or hashlib.sha256(content).hexdigest()
    report = _headers(_fields(content), zone)
    return Mail(replace(report, defects=(*report.defects, why)), name)


def _fields(content: bytes) -> list[tuple[str, str]]:
    end = re.search(rb"\r?\n\r?\n", content[:MAX_HEADER])
    head = content[: end.start()] if end else content[:MAX_HEADER]
    try:
        message = BytesHeaderParser(policy=compat32).parsebytes(head + b"\r\n\r\n")
        return [(name.lower().strip(), str(value)) for name, value in message.raw_items()]
    except Exception:  # as above: what cannot be read has no headers
        return []


def _headers(fields: list[tuple[str, str]], zone: tzinfo) -> Report:
    names = Counter(name for name, _ in fields)
    doubled = sorted(name for name, times in names.items() if times > 1 and _once(name))[:MAX_DEFECTS]
    defects = [f"{name[:40]} stands {names[name]} times" for name in doubled]
    status = _first(fields, "x-fax-status") if "x-fax-status" in names else None
    printed = _first(fields, "x-fax-status-code")
    incoming = "x-fax-sender" in names and status is None
    if not incoming:
        if (status or "").lower() not in ("success", "fail"):
            defects.append("X-Fax-Status is neither Success nor Fail")
        if not _CODE.fullmatch(printed):
            defects.append("X-Fax-Status-Code is no number" if printed else "X-Fax-Status-Code is missing")
        if "x-fax-sender" in names:
            defects.append("X-Fax-Sender stands in a report")
    return Report(
        kind="incoming" if incoming else "report",
        status=status,
        status_code=int(printed) if _CODE.fullmatch(printed) else None,
        subject=_first(fields, "x-fax-subject") or _first(fields, "subject"),
        sender=_first(fields, "x-fax-sender")[:100] if "x-fax-sender" in names else None,
        message_id=_first(fields, "message-id") or None,
        date=_date(_first(fields, "date"), zone),
        to=_did(fields) if incoming else None,
        defects=tuple(defects),
    )


def _once(name: str) -> bool:
    return name.startswith("x-fax-") or name in ("from", "subject")


def _first(fields: list[tuple[str, str]], name: str) -> str:
    return next((decode(value) for found, value in fields if found == name), "")


def decode(value: str) -> str:
    """Return a header as text: RFC 2047 words decoded, raw 8-bit as UTF-8 or windows-1255, at most 1,000 characters."""
    value = " ".join(value[:8000].split())
    try:
        pieces = [_piece(raw, charset) for raw, charset in decode_header(value)]
    except (HeaderParseError, ValueError):
        pieces = [_piece(value, None)]
    # How much of a broken word is left differs between versions of Python; nothing would tell less than the word itself.
    text = " ".join(("".join(pieces) or value).replace("\0", "").split())[:1000]
    # UTF-7 and its kind can spell halves of surrogate pairs, which no database and no JSON takes.
    return text.encode("utf-8", "replace").decode()


def _piece(raw: bytes | str, charset: str | None) -> str:
    if isinstance(raw, str):
        raw = raw.encode("utf-8", "surrogateescape")
    for name in (charset if charset != "unknown-8bit" else None, "utf-8", "windows-1255"):
        try:
            return raw.decode(name or "utf-8")
        except (LookupError, ValueError):
            continue
    return raw.decode("utf-8", "replace")


def _date(value: str, zone: tzinfo) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
        # -0000 is UTC, from somebody who does not say where they are (RFC 5322 section 3.3); Python calls it no zone.
        zone = UTC if _NOWHERE.search(value) else zone
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _did(fields: list[tuple[str, str]]) -> str | None:
    """Return the called number, where To is written to a number or the subject says `to NUMBER`."""
    try:
        local = [address.partition("@")[0] for _, address in getaddresses([_first(fields, "to")])]
    except (ValueError, IndexError, TypeError):
        local = []
    numbers = [part for part in local if re.fullmatch(r"\+?[0-9][0-9-]{6,18}", part, re.ASCII)]
    told = _TO_NUMBER.search(_first(fields, "subject"))
    return numbers[0] if numbers else told[1] if told else None


def _body(content: bytes, incoming: bool) -> tuple[str, Attachment | None]:
    if content.count(b"\n--") > MAX_PARTS:
        raise ValueError("more parts than a mail from MyFax has")
    leaves = [part for part in BytesParser(policy=compat32).parsebytes(content).walk() if not part.is_multipart()]
    names = [name for part in leaves if (name := _filename(part))]
    readable = [part for part in leaves if part.get_content_maintype() == "text" and not _filename(part)]
    texts = [_text(part) for part in readable[:MAX_TEXTS]]
    documents = [(_rank(part, found), found) for part in leaves if (found := _document(part)) is not None] if incoming else []
    return "\n".join([*names, *texts]), min(documents, key=lambda each: each[0], default=(0, None))[1]


def _filename(part: Message) -> str:
    """Return a readable file name that is no path: the last component, without control and direction characters."""
    name = decode(part.get_filename() or "")
    name = re.sub(r"[\x00-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]", "", re.split(r"[/\\]", name)[-1])
    return name.strip(". ")[:150]


def _text(part: Message) -> str:
    raw = part.get_payload(decode=True)
    text = _piece(raw[: 16 * MAX_TEXT] if isinstance(raw, bytes) else b"", part.get_content_charset())
    return " ".join(html.unescape(_without_tags(text)).split()) if part.get_content_subtype() == "html" else text


def _without_tags(text: str) -> str:
    pieces, place = [], 0
    while opening := _OPENS.search(text, place):
        pieces.append(text[place : opening.start()])
        closing = _CLOSES.search(text, opening.end())
        place = closing.start() if closing else len(text)
    return _TAG.sub(" ", " ".join([*pieces, text[place:]]))


def _document(part: Message) -> Attachment | None:
    name = _filename(part)
    content_type = part.get_content_type()
    if content_type.startswith("text/"):
        return None
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes) or not content:
        return None
    if content_type != "application/pdf" and not _IMAGE.fullmatch(content_type):
        told = [*(ending for ending in _TYPES if name.lower().endswith(ending)), *_begun(content)]
        if not told:
            return None
        content_type = _TYPES[told[0]]
    ending = next((ending for ending, type_ in _TYPES.items() if type_ == content_type), "")
    return Attachment(name or f"fax{ending}", content_type, content)


def _begun(content: bytes) -> list[str]:
    return [ending for begins, ending in _BEGINS.items() if content.startswith(begins)]


def _rank(part: Message, document: Attachment) -> int:
    """A fax is a PDF or a TIFF; an image may be a logo in the mail's text, surely so with an id by which the text shows it."""
    if document.content_type in ("application/pdf", "image/tiff"):
        return 0
    return 2 if part["content-id"] else 1
