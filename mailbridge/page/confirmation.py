"""The confirmation of a fax: one page of A4 with what is known about it, and its first page small."""

from __future__ import annotations

import contextlib
from typing import Final

from PIL import Image, ImageOps

from mailbridge.page.confirmation_text import ConfirmationText
from mailbridge.page.page_picture import CannotShow, page_image
from mailbridge.page.text_page import clean_line
from mailbridge.page.typesetting import Typesetter

# Sizes in points.
_TITLE, _ROW, _SMALL = 18, 11, 8
_PICTURE_HEIGHT, _LEAST_HEIGHT = 300.0, 60.0
# Pixels of the longer side of the small page, enough to recognise a letter by.
_SIDE: Final = 1000
_LONGEST_ROW: Final = 75  # characters


def render_confirmation(text: ConfirmationText, document: bytes | None) -> bytes:
    """Return the page as a PDF; `document` is the fax's first document, whose first page is shown if it is a PDF or a picture."""
    page = Typesetter(most_pages=1)
    page.add_paragraph(_line(text.title), _TITLE)
    page.add_rule()
    page.add_table([[_line(label), _line(value)[:_LONGEST_ROW]] for label, value in text.rows], _ROW)
    page.add_paragraph("", _ROW)
    for remark in text.remarks:
        page.add_paragraph(_line(remark), _ROW)
    page.add_rule()
    for name, size, digest in text.documents:
        page.add_table([[_line(name)[:_LONGEST_ROW], _line(size)]], _SMALL)
        page.add_paragraph(_line(digest), _SMALL)
    picture = None if document is None else _first_page(document)
    if picture is not None and page.room > _LEAST_HEIGHT:
        page.add_picture(picture, min(page.room, _PICTURE_HEIGHT))
    return page.to_pdf()


def _line(text: str) -> str:
    return clean_line(text).strip() or "-"


def _first_page(document: bytes) -> Image.Image | None:
    """Return the first page, framed and at most _SIDE pixels high and wide; None for a document that cannot be shown."""
    with contextlib.suppress(CannotShow):  # the confirmation is made without it
        image, _ = page_image(document, 1, _SIDE)
        image.thumbnail((_SIDE, _SIDE))
        return ImageOps.expand(image.convert("L"), border=2, fill=128)
    return None
