"""A letter: what a spooled mail asks to be faxed, and how.

Which text becomes a page: a mail without documents is faxed as its text. Beside documents, `always` adds the text as a first page
and `auto` does so if the text says something that the documents do not (see `covering`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import getaddresses
from pathlib import Path
from typing import Literal, cast

from mailbridge.errors import Refused
from mailbridge.model import EXTERNAL, Document
from mailbridge.store.fsync import sync_directory
from mailbridge.submission import body, document_types, page
from mailbridge.submission.covering import deserves_page
from mailbridge.submission.mime import Headers, Mail, Part, decode_words, open_mail

PageMode = Literal["never", "auto", "always"]
MAX_CONTENT = 64_000_000
MAX_TEXT = 100_000
MAX_TAGS = 20
# A small picture is a logo, unless it has the points of a page: a scan in black and white is often smaller than a logo.
_LOGO_BYTES = 16_000
_LOGO_POINTS, _PAGE_POINTS = 150, 500
# The dates that a database and a sum of dates can hold, with room.
_LAST_YEAR = 9000
# What travels with mail and is nobody's document: signatures, cards, appointments, and the same text for other readers.
_PASSED_OVER = frozenset(
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
_URL = re.compile(r"https?://[!-~]{1,2000}", re.IGNORECASE)
_PASSED_OVER_NAMES = (".p7s", ".asc", ".sig", ".vcf", ".ics")
# Exchange attaches what stands behind a document, often nothing, as a file of this name.
_LEFTOVER = re.compile(r"ATT\d{5}\.(?:txt|html?)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """What one mail asks for. `documents` are in the order to be faxed, a page made of the mail's text first.

    `sender` is the first address of From, `authors` are all of them. `account`, `page`, `send_at` (UTC) and `tags` are the
    X-Mailbridge headers, None where none came. `auto_submitted` is RFC 3834's mark of a machine's mail; `looped` tells of a mail
    that mailbridge itself wrote; `received_count` counts Received headers (RFC 5321 section 6.3).
    """

    message_id: str | None
    subject: str
    sender: str | None
    authors: tuple[str, ...] = ()
    documents: tuple[Document, ...]
    account: str | None = None
    page: PageMode | None = None
    send_at: datetime | None = None
    tags: dict[str, str] = field(default_factory=dict)
    auto_submitted: bool = False
    looped: bool = False
    received_count: int = 0


def read_letter(spool_root: Path, relpath: str, mode: str) -> Letter:
    """Read a spooled mail and return what is to be faxed; a page made of its text is written, durable, beside it.

    `mode` is `fax.page`; the mail's own X-Mailbridge-Page overrides it. Blocking; meant for a child process with limits.
    Raises Refused: 554 5.6.0 for a mail that cannot be read or has nothing to fax, 554 5.6.1 for a file that cannot be faxed.
    """
    with open_mail(spool_root / relpath) as mail:
        letter = read_headers(mail.headers)
        if letter.looped or letter.auto_submitted:
            # Never faxed whatever it holds, so nothing in it is looked at.
            return letter
        text, shown = body.read(mail)
        documents = list(_documents(mail, relpath, shown))
        mode = letter.page or mode
        by_url = any(document.content_type == EXTERNAL for document in documents)
        if text.strip() and mode != "never" and not by_url and (mode == "always" or not documents or deserves_page(text)):
            documents.insert(0, _text_page(spool_root, relpath, text, mail.headers, letter))
        if not documents:
            why = "its text is not to become a page" if text.strip() else "it has no text"
            raise Refused(f"554 5.6.0 The mail has nothing to fax: no document is attached and {why}")
        return replace(letter, documents=tuple(documents))


def read_headers(headers: Headers) -> Letter:
    """Return the letter without documents, by its headers. Raises Refused for an X-Mailbridge header that cannot be read."""
    written = [str(value)[:4000] for value in headers.get_all("From", [])]
    authors = tuple(address for _, address in getaddresses(written) if "@" in address)
    automatic = str(headers.get("Auto-Submitted", "no")).split(";")[0].strip().lower()
    return Letter(
        message_id=str(headers.get("Message-ID", "")).strip()[:998] or None,
        subject=page.clean(decode_words(str(headers.get("Subject", "")))).replace("\n", " ").strip()[:998],
        sender=authors[0] if authors else None,
        authors=authors,
        documents=(),
        account=str(headers.get("X-Mailbridge-Account", "")).strip() or None,
        page=_page_mode(headers.get("X-Mailbridge-Page")),
        send_at=_send_at(headers.get("X-Mailbridge-Send-At")),
        tags=_tags([str(value) for value in headers.get_all("X-Mailbridge-Tag", [])]),
        auto_submitted=automatic not in ("no", ""),
        looped="X-Mailbridge-Loop" in headers,
        received_count=len(headers.get_all("Received", [])),
    )


def _page_mode(value: object) -> PageMode | None:
    if value is None:
        return None
    mode = str(value).strip().lower()
    if mode not in ("never", "auto", "always"):
        raise Refused("554 5.6.0 The header X-Mailbridge-Page must be never, auto or always")
    return cast(PageMode, mode)


def _send_at(value: object) -> datetime | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(str(value).strip())
        if moment.tzinfo is not None and moment.year < _LAST_YEAR:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise Refused("554 5.6.0 The header X-Mailbridge-Send-At must be a time with its zone, such as 2026-01-04T09:00:00+02:00")


def _tags(values: list[str]) -> dict[str, str]:
    tags: dict[str, str] = {}
    for value in values:
        # A mail program encodes the key and the value of a Hebrew tag as one word, whose own marks are "=".
        key, equals, rest = (decode_words(value) if value.lstrip().startswith("=?") else value).partition("=")
        key, rest = key.strip(), decode_words(rest.strip())
        if not equals or not key or len(key) > 100 or len(rest) > 500 or not key.isprintable():
            raise Refused(
                "554 5.6.0 The header X-Mailbridge-Tag must be key=value, the key of 100 and the value of 500 characters at most"
            )
        tags[key] = rest
    if len(tags) > MAX_TAGS:
        raise Refused(f"554 5.6.0 The mail has more than {MAX_TAGS} X-Mailbridge-Tag headers")
    return tags


def _documents(mail: Mail, relpath: str, shown: frozenset[str]) -> Iterator[Document]:
    """Yield what is attached and can be faxed, in its order; `shown` are the cids of the pictures that the text shows."""
    if any(part.url is not None for part in mail.parts):
        yield _external(mail, relpath)
        return
    for number, part in enumerate(mail.parts, 1):
        if body.is_text(part) or _passed_over(part) or part.cid in shown:
            continue
        extension = document_types.EXTENSIONS.get(part.content_type, "")
        name = document_types.safe_name(part.filename, f"document-{number}{extension}")
        if name.lower() == "winmail.dat" or part.content_type in ("application/ms-tnef", "application/vnd.ms-tnef"):
            raise document_types.refusal(
                name, "Outlook packed the documents into it; send the mail as HTML or plain text, not as Rich Text"
            )
        kind = document_types.claimed_kind(name, part.content_type)
        if kind is None:
            if _is_logo(mail, part, b""):
                continue
            raise document_types.refusal(name, "only PDF, TIFF, JPEG, PNG, Word, Excel, ODT, text and HTML can be")
        content = mail.content(part, MAX_CONTENT)
        if _LEFTOVER.fullmatch(name) and not content.strip():
            continue
        if not _is_logo(mail, part, content):
            yield _document(relpath, name, kind, part, content)


def _external(mail: Mail, relpath: str) -> Document:
    """The document that MyFax fetches by itself; `faxUpload.do` takes one such, and nothing beside it."""
    [part, *more] = [part for part in mail.parts if not body.is_text(part)]
    url = part.url or ""
    if more or not url:
        raise Refused("554 5.6.0 A document by its URL is faxed alone; send the others in another mail")
    if not _URL.fullmatch(url):
        raise Refused("554 5.6.0 The document's URL must begin with https:// or http:// and have at most 2000 characters")
    digest = hashlib.sha256(url.encode()).hexdigest()
    return Document(name=url, content_type=EXTERNAL, size=0, sha256=digest, path=relpath, offset=0, length=0)


def _document(relpath: str, name: str, kind: str, part: Part, content: bytes) -> Document:
    return Document(
        name=name,
        content_type=document_types.TYPES[kind],
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        path=relpath,
        offset=part.offset,
        length=part.length,
        encoding=part.encoding,
        pages=document_types.check(name, kind, content),
    )


def _passed_over(part: Part) -> bool:
    return part.content_type in _PASSED_OVER or (part.filename or "").lower().endswith(_PASSED_OVER_NAMES)


def _is_logo(mail: Mail, part: Part, content: bytes) -> bool:
    """Tell a logo from a page: a small picture that stands in the text, and is not attached to it. Scanners alone write TIFF."""
    if not part.content_type.startswith("image/") or part.content_type == "image/tiff" or len(mail.parts) == 1:
        return False
    # Gmail and Exchange give what is attached an id too; where the text is HTML, it would show a logo by it.
    if part.disposition == "attachment" and (part.cid is None or body.has_html(mail)):
        return False
    size = document_types.image_size(content) if content else None
    small = (len(content) or part.length) < _LOGO_BYTES
    return small if size is None else min(size) < (_PAGE_POINTS if small else _LOGO_POINTS)


def _text_page(spool_root: Path, relpath: str, text: str, headers: Headers, letter: Letter) -> Document:
    if len(text) > MAX_TEXT:
        raise Refused(f"554 5.6.0 The mail's text is longer than {MAX_TEXT} characters; attach it as a document")
    date = decode_words(str(headers.get("Date", "")))
    content, pages = page.render(text, letter.subject, decode_words(str(headers.get("From", ""))), date)
    path = str(Path(relpath).with_suffix(".page.pdf"))
    _write_durably(spool_root / path, content)
    return Document(
        name="page.pdf",
        content_type="application/pdf",
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        path=path,
        offset=0,
        length=len(content),
        pages=pages,
    )


def _write_durably(path: Path, content: bytes) -> None:
    """Write a file and sync it and its directory; nothing is left of one that failed. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        sync_directory(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise
