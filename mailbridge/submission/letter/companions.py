"""Companions: parts that only accompany a mail, such as logos, signatures and leftovers. They are passed over, not faxed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from mailbridge.page.text_page import clean
from mailbridge.submission.letter.charsets import decode_text
from mailbridge.submission.letter.covering import deserves_page, is_of_machine
from mailbridge.submission.letter.document_types import PICTURES, declared_kind
from mailbridge.submission.letter.html_text import text_of_html
from mailbridge.submission.letter.mime_part import Part
from mailbridge.submission.letter.pictures import image_size, is_photograph

# A small picture is a logo, unless it has the pixels of a page: a black and white scan often has fewer bytes than a logo.
_LOGO_BYTES, _LOGO_PIXELS, _PAGE_PIXELS = 16_000, 150, 500
# A picture among the sentences of the letter, such as a part of the screen, is content from this size on.
_LETTER_PIXELS, _LETTER_AREA = 180, 100_000
_PORTRAIT_PIXELS = 300  # a smaller photograph in a signature shows its author
# Signatures, contact cards, appointments, delivery reports, the same text for other readers, and the half of a file that only a
# Mac uses (RFC 1740).
_TYPES: Final = frozenset(
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
_NAMES: Final = (".p7s", ".asc", ".sig", ".vcf", ".ics")
# Exchange attaches the text that follows a document in the mail, often none, as a file of such a name.
_LEFTOVER: Final = re.compile(r"(?:ATT\d{5}|Untitled attachment \d{5})(?:\.(?:txt|html?|c|bin|dat))?", re.IGNORECASE)
_MOST_OF_LEFTOVER = 20_000  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachedFile:
    """A file of a mail, wherever it is: a part of its own, packed in another part, or written into the text.

    `name` is safe, and never empty. `kind` is that of the content. `part` is where the file is; `is_part` says that it is the
    whole part. `is_shown` says that the text shows it, `is_in_letter` that it does so between the sender's sentences,
    `is_in_signature` that it does so below a closing, and `is_attached` that the sender attached it to the text.
    """

    name: str
    content_type: str
    content: bytes | memoryview
    kind: str | None
    part: Part
    is_part: bool = True
    is_shown: bool = False
    is_in_letter: bool = False
    is_in_signature: bool = False
    is_attached: bool = True


def accompanies(file: AttachedFile) -> bool:
    """Return whether a file only accompanies a mail, by its type, name or content; see `is_logo` for pictures."""
    if file.kind == "appledouble":
        return True
    by_name = file.content_type in _TYPES or file.name.lower().endswith(_NAMES)
    return (by_name and file.kind != "encrypted") or _is_leftover(file)


def _is_leftover(file: AttachedFile) -> bool:
    """Return whether a file has no content, or only a text that a mail program made a file of."""
    declared = declared_kind(file.name, file.content_type)
    if declared not in (None, "txt", "html") or len(file.content) > _MOST_OF_LEFTOVER:
        return False
    content = bytes(file.content)
    if not content.strip(b" \t\r\n\0"):
        return True
    if file.kind not in ("txt", "html"):
        return False
    text = decode_text(content, file.part.charset)
    text = clean(text_of_html(text) if "html" in (file.kind, declared) else text)
    return is_of_machine(text) or (_LEFTOVER.fullmatch(file.name) is not None and not deserves_page(text))


def is_logo(file: AttachedFile) -> bool:
    """Return whether a file is a small picture in the text, not attached to it. Scanners write TIFF, and cameras HEIC."""
    if file.kind in ("tiff", "heic") or (file.kind not in PICTURES and not file.content_type.startswith("image/")):
        return False
    size = image_size(file.content)
    if size is not None and min(size) >= _PAGE_PIXELS:
        return False
    smallest = _PORTRAIT_PIXELS if file.is_in_signature else _LOGO_PIXELS
    if file.kind == "jpeg" and size is not None and min(size) >= smallest and is_photograph(file.content):
        return False
    if file.is_in_letter and is_larger_than_logo(file):
        return False
    is_small = len(file.content) < _LOGO_BYTES
    if file.is_shown and size is not None:
        return True
    if file.is_attached and not file.is_shown:
        return False
    return is_small if size is None else min(size) < (_PAGE_PIXELS if is_small else _LOGO_PIXELS)


def is_larger_than_logo(file: AttachedFile) -> bool:
    """Return whether a picture has the size of a part of a screen, which most logos have not."""
    size = image_size(file.content)
    return size is not None and min(size) >= _LETTER_PIXELS and size[0] * size[1] >= _LETTER_AREA
