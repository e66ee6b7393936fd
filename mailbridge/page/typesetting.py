"""Paragraphs set under each other on pages: broken into lines, each line in its visual order."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mailbridge.page import pdf
from mailbridge.page.aligned_text import Cell
from mailbridge.page.bidi import is_neutral, visual_order
from mailbridge.page.bidi_controls import CONTROLS, direction, resolve
from mailbridge.page.text_page import TooManyPages
from mailbridge.page.typeface import Glyphs, Shaped

_MM = 72 / 25.4
_MARGIN = 18 * _MM
_LEFT, _RIGHT = 19 * _MM, pdf.WIDTH - 19 * _MM  # where lines begin and end
_LEADING = 0.55 * _MM  # height of a line, for each point of its size
_GAP = 5 * _MM  # between the columns of a table
_PLAIN_GAP = "   "
_LEAST_GAP = 2 * _MM  # between the cells of a row that is aligned by spaces
_SMALLEST = 8  # points, of letters in such a row
_NUMBER_SIZE = 9  # points, of a page's number
_LONGEST = 20_000  # characters that are set as one paragraph


@dataclass(frozen=True, slots=True)
class _Line:
    """Glyphs to be drawn on one line: `order` are their indices from left to right, `size` and `width` are in points."""

    shaped: Shaped
    order: list[int]
    size: int
    width: float


class Typesetter:
    """A4 pages of text, filled from top to bottom, at most `most_pages`. What adds to them raises TooManyPages beyond that.

    `is_rtl` is the direction of the whole text: at its side stand lines without a letter, such as a number or dashes.
    """

    def __init__(self, most_pages: int | None = None, *, is_rtl: bool = False) -> None:
        self._most_pages, self._is_rtl = most_pages, is_rtl
        self._glyphs = Glyphs()
        self._pages: list[list[pdf.Item]] = [[]]
        self._y = pdf.HEIGHT - _MARGIN

    @property
    def count(self) -> int:
        """How many pages there are."""
        return len(self._pages)

    @property
    def room(self) -> float:
        """How many points are free on the last page."""
        return self._y - _MARGIN

    def add_picture(self, image: Any, height: float) -> None:
        """Add a picture of Pillow, `height` points high, in the middle; a wide one is as wide as the page allows."""
        scale = min(height / image.height, (_RIGHT - _LEFT) / image.width)
        width, high = image.width * scale, image.height * scale
        self._y -= high
        self._pages[-1].append(pdf.Picture((pdf.WIDTH - width) / 2, self._y, width, high, image))

    def to_pdf(self) -> bytes:
        """Return the pages as a PDF; several are numbered below the text."""
        for number, page in enumerate(self._pages if self.count > 1 else (), 1):
            line = self._cell(f"{number}/{self.count}", _NUMBER_SIZE)
            page.extend(_rows(line, (pdf.WIDTH - line.width) / 2, _MARGIN / 2, self._scale(line.size)))
        return pdf.write(self._pages, self._glyphs)

    def add_rule(self) -> None:
        """Draw a line across the page."""
        self._pages[-1].append(pdf.Rule(_MARGIN, pdf.WIDTH - _MARGIN, self._y - 2 * _MM))
        self._y -= 6 * _MM

    def add_paragraph(self, paragraph: str, size: int, *, rtl: bool | None = None) -> None:
        """Add a paragraph in letters of `size` points, in the direction of its first letter unless `rtl` says which."""
        if not CONTROLS.sub("", paragraph).strip():
            self._y -= size * _LEADING
            return
        at_right = rtl = direction(paragraph) if rtl is None else rtl
        if self._is_rtl and is_neutral(paragraph):
            at_right = True
        for written in _parts(paragraph.rstrip()):
            part, levels = resolve(written, rtl)
            shaped = self._glyphs.shape(part, levels)
            for start, end in _lines(part, shaped, (_RIGHT - _LEFT) / self._scale(size)):
                line = self._line(shaped, visual_order(levels, start, end), size)
                self._draw(line, _RIGHT - line.width if at_right else _LEFT, self._next_base_line(size))

    def add_table(self, rows: list[list[str]], size: int) -> None:
        """Add rows of cells in columns as wide as their widest cells, or plain lines where they are too wide for a page."""
        rtl = direction("".join(itertools.chain.from_iterable(rows)))
        cells = [[self._cell(text, size) for text in row] for row in rows]
        widths = [
            max(column) for column in itertools.zip_longest(*([cell.width for cell in row] for row in cells), fillvalue=0.0)
        ]
        if sum(widths) + _GAP * (len(widths) - 1) > _RIGHT - _LEFT:
            for row in rows:
                self.add_paragraph(_PLAIN_GAP.join(row), size)
            return
        begins = list(itertools.accumulate(widths, lambda begin, width: begin + width + _GAP, initial=0.0))
        for line in cells:
            y = self._next_base_line(size)
            for cell, begin in zip(line, begins, strict=False):
                self._draw(cell, _RIGHT - begin - cell.width if rtl else _LEFT + begin, y)

    def add_aligned(self, lines: list[str], rows: list[list[Cell]], size: int) -> None:
        """Add lines with cells in columns of characters. Lines without cells, and a table too wide for a page, are paragraphs."""
        rtl = direction("".join(cell.text for row in rows for cell in row))
        size, step = self._columns(rows, size)
        for line, row in itertools.zip_longest(lines, rows if step else (), fillvalue=()):
            if not row:
                self.add_paragraph(str(line), size)
                continue
            y = self._next_base_line(size)
            for cell in row:
                written = self._cell(cell.text, size)
                begin = cell.end * step - written.width if cell.by_end else cell.begin * step
                self._draw(written, _RIGHT - begin - written.width if rtl else _LEFT + begin, y)

    def _columns(self, rows: list[list[Cell]], size: int) -> tuple[int, float]:
        """Return the size of the letters, and the points of a column of characters with which no cell reaches the next one.

        The latter is 0 where the rows are too wide for a page.
        """
        if not rows:
            return size, 0.0
        step = self._cell("0", size).width
        for row in rows:
            for cell, after in itertools.pairwise(row):
                room = after.begin - cell.begin
                step = max(step, (self._cell(cell.text, size).width + _LEAST_GAP) / room)
        most = max((row[-1].end for row in rows if row), default=1)
        fitting = min(size, int(size * (_RIGHT - _LEFT) / (step * most)))
        return (fitting, step * fitting / size) if fitting >= _SMALLEST else (size, 0.0)

    def _scale(self, size: int) -> float:
        """Return the points of a unit of the font."""
        return size / self._glyphs.units_per_em

    def _cell(self, text: str, size: int) -> _Line:
        visible, levels = resolve(text, direction(text))
        return self._line(self._glyphs.shape(visible, levels), visual_order(levels, 0, len(visible)), size)

    def _line(self, shaped: Shaped, stretches: list[tuple[int, int, int]], size: int) -> _Line:
        order = [index for stretch in stretches for index in _indices(shaped, *stretch)]
        return _Line(shaped, order, size, self._scale(size) * sum(map(shaped.advances.__getitem__, order)))

    def _draw(self, line: _Line, x: float, y: float) -> None:
        self._pages[-1].extend(_rows(line, x, y, self._scale(line.size)))

    def _next_base_line(self, size: int) -> float:
        height = size * _LEADING
        if self._y - height < _MARGIN:
            if self._most_pages is not None and len(self._pages) >= self._most_pages:
                raise TooManyPages(self._most_pages)
            self._pages.append([])
            self._y = pdf.HEIGHT - _MARGIN
        self._y -= height
        return self._y + 0.5 * height - 0.3 * size


def _parts(paragraph: str) -> Iterator[str]:
    """Yield a paragraph in parts of a bounded length, cut at spaces where there are any."""
    while len(paragraph) > _LONGEST:
        cut = paragraph.rfind(" ", 1, _LONGEST)
        part, paragraph = (paragraph[:_LONGEST], paragraph[_LONGEST:]) if cut < 0 else (paragraph[:cut], paragraph[cut + 1 :])
        yield part
    yield paragraph


def _lines(text: str, shaped: Shaped, width: float) -> Iterator[tuple[int, int]]:
    """Yield where each line of a paragraph starts and ends. It ends at a space, or within a word that is longer than a line."""
    reached = [0, *itertools.accumulate(shaped.advances)]
    start = 0
    while start < len(text):
        first = bisect.bisect_left(shaped.places, start)
        beyond = bisect.bisect_right(reached, reached[first] + width, first) - 1
        if beyond >= len(shaped.places):
            yield start, len(text)
            return
        end = max(shaped.places[beyond], start + 1)
        line = text[start : text.rfind(" ", start, end + 1)] if " " in text[start : end + 1] else ""
        if line.strip():
            yield start, start + len(line.rstrip())
            start += len(line)
            # Spaces at the end of a paragraph are left where a control stood behind them.
            while text[start : start + 1] == " ":
                start += 1
        else:
            yield start, end
            start = end


def _indices(shaped: Shaped, start: int, end: int, level: int) -> range:
    """Return the glyphs of the characters from start to end, from left to right."""
    glyphs = range(bisect.bisect_left(shaped.places, start), bisect.bisect_left(shaped.places, end))
    return glyphs[::-1] if level % 2 else glyphs


def _rows(line: _Line, x: float, y: float, scale: float) -> Iterator[pdf.Text]:
    """Yield a line's glyphs in as few rows as possible: a new one begins where a glyph does not just follow the one before."""
    shaped, order = line.shaped, line.order
    codes = [shaped.codes[index] for index in order]
    begin = 0
    for end in [place for place, index in enumerate(order) if index in shaped.shifts] if shaped.shifts else ():
        shift_x, shift_y = shaped.shifts[order[end]]
        alone = bool(shift_x or shift_y)
        if begin < end + (not alone):
            yield pdf.Text(x, y, line.size, codes[begin : end + (not alone)])
        x += scale * sum(shaped.advances[index] for index in order[begin:end])
        if alone:
            yield pdf.Text(x + scale * shift_x, y + scale * shift_y, line.size, [codes[end]])
        x += scale * shaped.advances[order[end]]
        begin = end + 1
    if begin < len(codes):
        yield pdf.Text(x, y, line.size, codes[begin:])
