"""A text becomes a page: PDF by fpdf2, each paragraph set from right to left where its first letter says so."""

from __future__ import annotations

import html.parser
import io
import itertools
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_FONT = Path(__file__).parent / "fonts" / "DejaVuSans.ttf"
# A marker of direction inside the text would be drawn as a box, or turn the line around a second time.
_BIDI_CONTROLS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_INVISIBLE = re.compile(r"[^\S\n\t ]|[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff\u200b\ufffe\uffff]")
# Where fpdf2 needs help; a number before the first Hebrew word belongs to the words from left to right.
_NUMBER_IN_HEBREW = re.compile(r"[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc].*\d")
_BLOCKS = {
    *("address", "article", "blockquote", "br", "div", "dl", "dt", "dd", "fieldset", "h1", "h2", "h3", "h4", "h5", "h6"),
    *("hr", "li", "ol", "p", "pre", "section", "table", "tr", "ul"),
}
_SILENT = {"head", "script", "style", "title", "template"}


def is_rtl(paragraph: str) -> bool:
    """Tell whether the paragraph's first strong character is read from right to left (UAX 9, rules P2 and P3)."""
    for character in paragraph:
        direction = unicodedata.bidirectional(character)
        if direction in ("R", "AL", "L"):
            return direction != "L"
    return False


def clean(text: str) -> str:
    """Return the text with plain line ends and spaces, without bidi controls and without what no font can draw."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _INVISIBLE.sub(lambda found: " " if found[0].isspace() else "", _BIDI_CONTROLS.sub("", text)).expandtabs(4)


def render(text: str, subject: str = "", sender: str = "", date: str = "") -> tuple[bytes, int]:
    """Return the text as a PDF of A4 pages, and how many; `subject`, `sender` and `date` stand above it where given.

    It takes about 0.1 s a page, and 0.3 s for the first in a process.
    """
    from fpdf import FPDF

    pdf: Any = FPDF(format="A4")
    pdf.set_auto_page_break(auto=True, margin=18)
    pdf.set_margins(18, 18, 18)
    pdf.add_font("DejaVu", fname=_FONT)
    pdf.set_text_shaping(use_shaping_engine=True)
    pdf.add_page()
    head = [clean(line).replace("\n", " ")[:500] for line in (subject, sender, date)]
    for size, line in zip((14, 10, 10), head, strict=True):
        if line.strip():
            _set(pdf, line, size)
    if any(line.strip() for line in head):
        pdf.line(18, pdf.get_y() + 2, pdf.w - 18, pdf.get_y() + 2)
        pdf.ln(6)
    for paragraph in clean(text).strip("\n").split("\n"):
        _set(pdf, paragraph, 11)
    buffer = io.BytesIO()
    pdf.output(buffer)
    return buffer.getvalue(), pdf.pages_count


def _set(pdf: Any, paragraph: str, size: int) -> None:
    pdf.set_font("DejaVu", size=size)
    height = size * 0.55
    if not paragraph.strip():
        pdf.ln(height)
        return
    rtl = is_rtl(paragraph)
    pdf.set_text_shaping(use_shaping_engine=True, direction="rtl" if rtl else "ltr")
    if rtl or not _NUMBER_IN_HEBREW.search(paragraph) or not _set_in_pieces(pdf, paragraph, height):
        pdf.multi_cell(0, height, paragraph, align="R" if rtl else "L", new_x="LMARGIN", new_y="NEXT")


def _set_in_pieces(pdf: Any, paragraph: str, height: float) -> bool:
    """Set a paragraph that reads from left to right and has a number among Hebrew words; False, unset, where it cannot.

    fpdf2 leaves the words and the number of `Re: חשבונית 17` in the order in which they were typed, against rule L2 of UAX 9.
    """
    from fpdf.bidi import BidiParagraph
    from fpdf.enums import TextDirection

    bidi = BidiParagraph(text=paragraph, base_direction=TextDirection.LTR, preserve_bn_chars=True)
    levels = [letter.embedding_level for letter in bidi.characters]
    lines = [line.strip() for line in pdf.multi_cell(0, height, paragraph, align="L", dry_run=True, output="LINES")]
    # A line is one of the text unless a soft hyphen or the like went out of it.
    if len(levels) != len(paragraph) or " ".join(lines).split() != paragraph.split():
        return False
    margin, end = pdf.c_margin, 0
    for line in lines:
        start = paragraph.find(line, end)
        end = start + len(line)
        pdf.set_x(pdf.l_margin + margin)
        pdf.c_margin = 0
        for piece, level in visual_order(line, levels[start:end]):
            pdf.set_text_shaping(use_shaping_engine=True, direction="rtl" if level % 2 else "ltr")
            pdf.cell(None, height, piece)
        pdf.c_margin = margin
        pdf.ln(height)
    return True


def visual_order(line: str, levels: Sequence[int]) -> list[tuple[str, int]]:
    """Return the line's stretches of one level from left to right, each as it was typed, with its level (UAX 9, rule L2)."""
    pieces = [
        ("".join(letter for letter, _ in stretch), level)
        for level, stretch in itertools.groupby(zip(line, levels, strict=True), key=lambda pair: pair[1])
    ]
    for least in range(max(levels, default=0), 0, -1):
        turned: list[tuple[str, int]] = []
        for is_inside, group in itertools.groupby(pieces, key=lambda piece: piece[1] >= least):
            turned += list(group)[:: -1 if is_inside else 1]
        pieces = turned
    return pieces


class _Strip(html.parser.HTMLParser):
    """Collects the readable text of HTML."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._silent: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a new line at a block, and be silent where nothing is meant to be read."""
        if tag in _SILENT:
            self._silent.append(tag)
        elif tag == "body":
            self._silent.clear()
        elif tag in _BLOCKS:
            self.pieces.append("\n")
        elif tag in ("td", "th"):
            self.pieces.append(" ")

    def handle_endtag(self, tag: str) -> None:
        """End what the tag began."""
        if tag in self._silent:
            del self._silent[self._silent.index(tag) :]
        elif tag in _BLOCKS and tag != "br":
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        """Keep text that is shown, its white space as one space."""
        if not self._silent:
            self.pieces.append(re.sub(r"\s+", " ", data))


def text_of_html(source: str) -> str:
    """Return the readable text of HTML; scripts, styles and tags are gone, blocks are lines."""
    strip = _Strip()
    strip.feed(source)
    strip.close()
    lines = (re.sub(" +", " ", line).strip() for line in "".join(strip.pieces).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")
