"""The body of a mail: its text, in which a token may stand, and the documents of a received fax. Pure."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from email.policy import compat32

from mailbridge.report.mail_header import decode, decode_bytes
from mailbridge.store.transfer_encoding import decoder

# Characters of the text that are kept.
MAX_TEXT = 16_000
# MyFax's mails have a handful of parts; stdlib takes ten seconds for 100,000. It tries each line against the boundary of every
# multipart that is open, which takes it a second for 64 KB of empty lines in 400 of them.
MAX_PARTS = 500
MAX_MULTIPARTS = 20
# Semicolons in the fields that say what parts are, and bytes of one such field: stdlib copies the rest of a field at each
# semicolon, and makes a pattern of a boundary. A second for 64 KB.
MAX_PARAMETERS = 1000
MAX_FIELD = 4000
# A text and the same text as HTML are usual.
MAX_TEXTS = 10
# Each document is a file of its own in the spool.
MAX_DOCUMENTS = 50

# Each of these looks at a character once, whatever the text is.
_OPENS = re.compile(r"<(?:style|script)\b", re.IGNORECASE)
_CLOSES = re.compile(r"</(?:style|script)\b", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>?")
_KIND = re.compile(rb"^content-(?:type|disposition)[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*", re.IGNORECASE | re.MULTILINE)
_UNSAFE_IN_NAME = re.compile(r"[\x00-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
# Nearly a token of RFC 2045. Anything else cannot stand in the header of the HTTP response that serves the document.
_IMAGE = re.compile(r"image/[\w.+-]+", re.ASCII)
_TYPES = {".pdf": "application/pdf", ".tif": "image/tiff", ".tiff": "image/tiff", ".jpg": "image/jpeg", ".png": "image/png"}
# How likely an attachment is the fax: PDF or TIFF, or an image by how it is marked.
_FAX, _ATTACHED, _INLINE, _SHOWN = range(4)
_SIGNATURES = {b"%PDF-": ".pdf", b"II*\0": ".tif", b"MM\0*": ".tif", b"\xff\xd8\xff": ".jpg", b"\x89PNG\r\n": ".png"}


@dataclass(frozen=True, slots=True)
class Attachment:
    """A document that a mail about a received fax carries."""

    filename: str
    content_type: str
    content: bytes


def read_body(content: bytes, with_documents: bool) -> tuple[str, list[Attachment]]:
    """Return a mail's text, with the names of its attachments, and its documents if `with_documents`.

    Raises what stdlib's parser raises on a hostile mail, and ValueError for one with too many parts or parameters.
    """
    if content.count(b"\n--") > MAX_PARTS or content.lower().count(b"multipart/") > MAX_MULTIPARTS:
        raise ValueError("more parts than a mail from MyFax has")
    kinds = [field[0] for field in _KIND.finditer(content)]
    if sum(field.count(b";") for field in kinds) > MAX_PARAMETERS or max(map(len, kinds), default=0) > MAX_FIELD:
        raise ValueError("more parameters than a mail from MyFax has")
    parts = [part for part in BytesParser(policy=compat32).parsebytes(content).walk() if not part.is_multipart()]
    names = [name for part in parts if (name := _filename(part))]
    readable = [part for part in parts if part.get_content_maintype() == "text" and not _filename(part)]
    texts = [_text(part) for part in readable[:MAX_TEXTS]]
    return "\n".join([*names, *texts]), _documents(parts) if with_documents else []


def _documents(parts: list[Message]) -> list[Attachment]:
    """Return the documents in their order, the likeliest first.

    A fax is PDF or TIFF. An image may be a logo, and surely is one if the text shows it by its Content-ID: beside a PDF or TIFF
    only an image that is marked as an attachment is a document; without one, images are.
    """
    found = [(_rank(part, document), document) for part in parts if (document := _attachment(part)) is not None]
    best = min((rank for rank, _ in found), default=0)
    return [document for rank, document in sorted(found, key=lambda entry: entry[0]) if rank <= max(best, _ATTACHED)]


def _rank(part: Message, document: Attachment) -> int:
    if document.content_type in ("application/pdf", "image/tiff"):
        return _FAX
    if part["content-id"]:
        return _SHOWN
    return _ATTACHED if part.get_content_disposition() == "attachment" else _INLINE


def _attachment(part: Message) -> Attachment | None:
    content_type = part.get_content_type()
    if content_type.startswith("text/"):
        return None
    content = _decoded(part)
    if not content:
        return None
    name = _filename(part)
    if content_type != "application/pdf" and not _IMAGE.fullmatch(content_type):
        ending = _ending(name, content)
        if ending is None:
            return None
        content_type = _TYPES[ending]
    ending = next((ending for ending, type_ in _TYPES.items() if type_ == content_type), "")
    return Attachment(name or f"fax{ending}", content_type, content)


def _decoded(part: Message) -> bytes:
    """Return a part's content. stdlib ends base64 at the first padding, behind which some programs go on."""
    encoded = part.get_payload()
    if isinstance(encoded, str) and str(part["content-transfer-encoding"]).strip().lower() == "base64":
        return decoder("base64").decode(encoded.encode("ascii", "surrogateescape"), True)
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""


def _ending(name: str, content: bytes) -> str | None:
    """Return the file ending of a document whose stated type says nothing, by its name or its first bytes."""
    by_name = [ending for ending in _TYPES if name.lower().endswith(ending)]
    by_content = [ending for signature, ending in _SIGNATURES.items() if content.startswith(signature)]
    return next(iter(by_name + by_content), None)


def _filename(part: Message) -> str:
    """Return a readable file name: the last component of a path, without control and direction characters."""
    name = decode(_with_text_headers(part).get_filename() or "")
    name = _UNSAFE_IN_NAME.sub("", re.split(r"[/\\]", name)[-1])
    return name.strip(". ")[:150]


def _with_text_headers(part: Message) -> Message:
    """Return the headers that hold a file name, with raw 8-bit bytes as text: stdlib replaces such bytes by U+FFFD."""
    named = Message(policy=compat32)
    for field, value in part.raw_items():
        if field.lower() in ("content-disposition", "content-type"):
            named[field] = decode_bytes(value, None) if isinstance(value, str) and not value.isascii() else value
    return named


def _text(part: Message) -> str:
    text = decode_bytes(_decoded(part)[: 16 * MAX_TEXT], part.get_content_charset())
    return " ".join(html.unescape(_without_tags(text)).split()) if part.get_content_subtype() == "html" else text


def _without_tags(text: str) -> str:
    """Return the text of HTML without its tags, styles and scripts."""
    pieces, position = [], 0
    while opening := _OPENS.search(text, position):
        pieces.append(text[position : opening.start()])
        closing = _CLOSES.search(text, opening.end())
        position = closing.start() if closing else len(text)
    return _TAG.sub(" ", " ".join([*pieces, text[position:]]))
