"""A PDF of glyphs and rules at given places, written by PDFium."""

from __future__ import annotations

import ctypes
import io
from array import array
from dataclasses import dataclass
from typing import Any, Final

import pypdfium2
import pypdfium2.raw as pdfium

from mailbridge.page.typeface import Glyphs

WIDTH: Final = 595.28  # points; A4
HEIGHT: Final = 841.89
_RULE_WIDTH = 0.567


@dataclass(frozen=True, slots=True)
class Text:
    """Glyphs in a row on a page: `x` and `y` are in points from its lower left corner, y is the base line."""

    x: float
    y: float
    size: float
    codes: list[int]


@dataclass(frozen=True, slots=True)
class Rule:
    """A thin line across a page."""

    left: float
    right: float
    y: float


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture on a page: `x` and `y` are its lower left corner, `width` and `height` in points; `image` is grey, of Pillow."""

    x: float
    y: float
    width: float
    height: float
    image: Any


Item = Text | Rule | Picture


def write(pages: list[list[Item]], glyphs: Glyphs) -> bytes:
    """Return a PDF of A4 pages. PDFium can be used by one thread only. Raises RuntimeError where it fails."""
    document: Any = pypdfium2.PdfDocument.new()
    try:
        font = _embed(document, glyphs)
        for items in pages:
            page: Any = document.new_page(WIDTH, HEIGHT)
            for item in items:
                _insert(document, page, font, item)
            page.gen_content()
            page.close()
        pdfium.FPDFFont_Close(font)
        written = io.BytesIO()
        document.save(written)
        return written.getvalue()
    finally:
        document.close()


def _insert(document: Any, page: Any, font: Any, item: Item) -> None:
    if isinstance(item, Picture):
        page.insert_obj(_picture(document, item))
    else:
        pdfium.FPDFPage_InsertObject(page, _text(document, font, item) if isinstance(item, Text) else _rule(item))


def _picture(document: Any, picture: Picture) -> Any:
    made = pypdfium2.PdfImage.new(document)
    made.set_bitmap(pypdfium2.PdfBitmap.from_pil(picture.image))
    made.set_matrix(pypdfium2.PdfMatrix().scale(picture.width, picture.height).translate(picture.x, picture.y))
    return made


def _embed(document: Any, glyphs: Glyphs) -> Any:
    font, glyph_of_code = glyphs.cut_out()
    font_bytes, map_bytes = ((ctypes.c_uint8 * len(content)).from_buffer_copy(content) for content in (font, glyph_of_code))
    text_of_code = glyphs.text_of_codes().encode()
    return _made(pdfium.FPDFText_LoadCidType2Font(document, font_bytes, len(font), text_of_code, map_bytes, len(glyph_of_code)))


def _text(document: Any, font: Any, text: Text) -> Any:
    made = _made(pdfium.FPDFPageObj_CreateTextObj(document, font, text.size))
    codes = (ctypes.c_uint32 * len(text.codes)).from_buffer(array("I", text.codes))
    _made(pdfium.FPDFText_SetCharcodes(made, codes, len(text.codes)))
    pdfium.FPDFPageObj_Transform(made, 1, 0, 0, 1, text.x, text.y)
    return made


def _rule(rule: Rule) -> Any:
    made = _made(pdfium.FPDFPageObj_CreateNewPath(rule.left, rule.y))
    pdfium.FPDFPath_LineTo(made, rule.right, rule.y)
    pdfium.FPDFPageObj_SetStrokeWidth(made, _RULE_WIDTH)
    pdfium.FPDFPath_SetDrawMode(made, pdfium.FPDF_FILLMODE_NONE, True)
    return made


def _made(result: Any) -> Any:
    if not result:
        raise RuntimeError("PDFium could not write a page")
    return result
