"""The attachments of a mail: which of its parts are documents to fax, and which only accompany them.

Companions are logos, signatures, calendar entries and the like, which no sender means to fax. A file that is neither a companion
nor a document that MyFax can fax makes the whole mail refused, because nobody notices what is missing in a fax.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

from mailbridge.errors import Refused
from mailbridge.model import EXTERNAL, Document
from mailbridge.submission import body
from mailbridge.submission.document_check import check, image_size, refusal
from mailbridge.submission.document_types import EXTENSIONS, TYPES, declared_kind
from mailbridge.submission.file_name import safe_name
from mailbridge.submission.mime import Mail
from mailbridge.submission.mime_part import Part

MAX_CONTENT = 64_000_000  # bytes of one decoded document
# A small picture is a logo, unless it has the pixels of a page: a black and white scan often has fewer bytes than a logo.
_LOGO_BYTES = 16_000
_LOGO_PIXELS, _PAGE_PIXELS = 150, 500
# Signatures, contact cards, appointments, delivery reports, and the same text for other readers.
_COMPANION_TYPES = frozenset(
    {
        "application/pkcs7-signature",
        "application/x-pkcs7-signature",
        "application/pgp-signature",
        "application/pgp-keys",
        "application/ics",
        "text/calendar",
        "text/directory",
        "text/rfc822-headers",
        "text/vcard",
        "text/watch-html",
        "text/x-amp-html",
        "text/x-vcard",
        "message/delivery-status",
        "message/disposition-notification",
    }
)
_COMPANION_NAMES = (".p7s", ".asc", ".sig", ".vcf", ".ics")
_URL = re.compile(r"https?://[!-~]{1,2000}", re.IGNORECASE)
# Exchange attaches the text that follows a document in the mail, often none, as a file of this name.
_EXCHANGE_TEXT = re.compile(r"ATT\d{5}\.(?:txt|html?)", re.IGNORECASE)


def find_documents(mail: Mail, relpath: str, shown: frozenset[str]) -> Iterator[Document]:
    """Yield the documents of a mail in their order. `shown` are the Content-IDs of the pictures that its HTML shows.

    `relpath` is the mail's path in the spool. Raises Refused, with 554 5.6.1 naming the file that cannot be faxed.
    """
    if any(part.url is not None for part in mail.parts):
        yield _external(mail, relpath)
        return
    for number, part in enumerate(mail.parts, 1):
        if not body.is_text(part) and not _is_companion(part) and part.cid not in shown:
            document = _attached(mail, relpath, part, number)
            if document is not None:
                yield document


def _attached(mail: Mail, relpath: str, part: Part, number: int) -> Document | None:
    """Return the document in the mail's part of this number, None for a logo or an empty text of Exchange. Raises Refused."""
    extension = EXTENSIONS.get(part.content_type, "")
    name = safe_name(part.filename, f"document-{number}{extension}")
    if name.lower() == "winmail.dat" or part.content_type in ("application/ms-tnef", "application/vnd.ms-tnef"):
        reason = "Outlook packed the documents into it; send the mail as HTML or plain text, not as Rich Text"
        raise refusal(name, reason)
    kind = declared_kind(name, part.content_type)
    if kind is None:
        if _is_logo(mail, part, b""):
            return None
        raise refusal(name, "only PDF, TIFF, JPEG, PNG, Word, Excel, ODT, text and HTML can be")
    content = mail.content(part, MAX_CONTENT)
    if _is_logo(mail, part, content) or (_EXCHANGE_TEXT.fullmatch(name) and not content.strip()):
        return None
    return _document(relpath, name, kind, part, content)


def _external(mail: Mail, relpath: str) -> Document:
    """Return the document that MyFax fetches by URL; `faxUpload.do` accepts one, and no other document with it."""
    [part, *more] = [part for part in mail.parts if not body.is_text(part)]
    url = part.url or ""
    if more or not url:
        raise Refused("554 5.6.0 A document given by its URL must be the only document; send the others in another mail")
    if not _URL.fullmatch(url):
        raise Refused("554 5.6.0 The document's URL must begin with https:// or http:// and have at most 2000 characters")
    digest = hashlib.sha256(url.encode()).hexdigest()
    return Document(name=url, content_type=EXTERNAL, size=0, sha256=digest, path=relpath, offset=0, length=0)


def _document(relpath: str, name: str, kind: str, part: Part, content: bytes) -> Document:
    return Document(
        name=name,
        content_type=TYPES[kind],
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        path=relpath,
        offset=part.offset,
        length=part.length,
        encoding=part.encoding,
        pages=check(name, kind, content),
    )


def _is_companion(part: Part) -> bool:
    return part.content_type in _COMPANION_TYPES or (part.filename or "").lower().endswith(_COMPANION_NAMES)


def _is_logo(mail: Mail, part: Part, content: bytes) -> bool:
    """Return whether a part is a logo: a small picture in the text, not attached to it. Only scanners write TIFF."""
    if not part.content_type.startswith("image/") or part.content_type == "image/tiff" or len(mail.parts) == 1:
        return False
    # Gmail and Exchange give attachments a Content-ID too; HTML text would show a logo by its Content-ID.
    if part.disposition == "attachment" and (part.cid is None or body.has_html(mail)):
        return False
    size = image_size(content) if content else None
    small = (len(content) or part.length) < _LOGO_BYTES
    return small if size is None else min(size) < (_PAGE_PIXELS if small else _LOGO_PIXELS)
