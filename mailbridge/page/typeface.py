"""The typeface of text pages: HarfBuzz chooses the glyphs of a text, and cuts those of one document out of the font.

The font is opened once in a process. A document gets only the glyphs that it draws, so its size depends on its text alone.
"""

from __future__ import annotations

import functools
import itertools
import operator
import re
import struct
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import uharfbuzz as hb

FILE: Final = Path(__file__).parent / "fonts" / "DejaVuSans.ttf"
# HarfBuzz shapes one script at a time. Arabic joins its letters only apart from Hebrew.
_SCRIPT = re.compile("[^\u0600-\u08ff\ufb50-\ufdff\ufe70-\ufefc]+|[^\u0590-\u05ff\ufb1d-\ufb4f]+")
# Tables that choose and place glyphs: done when the page is drawn.
_UNUSED_TABLES = ("GSUB", "GPOS", "GDEF", "kern", "cmap", "FFTM")
_CMAP_HEAD = """/CIDInit /ProcSet findresource begin
12 dict begin
begincmap
/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def
/CMapName /Adobe-Identity-UCS def
/CMapType 2 def
1 begincodespacerange
<0000> <FFFF>
endcodespacerange
"""
_CMAP_END = "endcmap\nCMapName currentdict /CMap defineresource pop\nend\nend\n"
# Kerning that is finer than this part of the font's size, a dot of a fax, is left out: a row of glyphs need not end for it.
_FINE = 0.036
_MAPPINGS = 100  # in one block of a CMap (Adobe Technical Note 5014)


@functools.cache
def open_font() -> Any:
    """Return the font. It is read from its file as its glyphs are needed."""
    return hb.Font(hb.Face(hb.Blob.from_file_path(str(FILE))))


def letters_lacking(text: str) -> set[str]:
    """Return the letters and digits of a text that the font does not have: boxes are drawn for them."""
    font = open_font()
    unknown = (letter for letter in set(text) if not font.get_nominal_glyph(ord(letter)))
    return {letter for letter in unknown if unicodedata.category(letter)[0] in "LN"}


@dataclass(frozen=True, slots=True)
class Shaped:
    """The glyphs of a text in the order of its characters.

    `places` are the indices of the characters with which the glyphs begin, `codes` the document's numbers of the glyphs, and
    `advances` how far each moves the pen, in units of the font. `shifts` has the glyphs that do not just follow each other, by
    their index: how far from the pen one is drawn (a Hebrew point), or (0, 0) where its advance is not its width (kerning).
    """

    places: list[int]
    codes: list[int]
    advances: list[int]
    shifts: dict[int, tuple[int, int]]


_Position = tuple[int, int, int, int]  # x and y offset, x and y advance


class _Codes(dict[tuple[int, str], int]):
    """The document's number for each glyph that stands for a text; a new one gets the next number.

    A glyph has a number for each text that it stands for, so that the text can be copied. 0 is the box for what the font lacks.
    """

    def __init__(self, font: Any) -> None:
        self._font = font
        self.entries = [(0, "")]
        self.positions = [self._position(0)]

    def __missing__(self, entry: tuple[int, str]) -> int:
        code = len(self.entries) if entry[0] else 0
        if code:
            self.entries.append(entry)
            self.positions.append(self._position(entry[0]))
        self[entry] = code
        return code

    def _position(self, glyph: int) -> _Position:
        """Return how a glyph is placed where nothing around it moves it."""
        return 0, 0, self._font.get_glyph_h_advance(glyph), 0


class Glyphs:
    """The glyphs that one document uses."""

    def __init__(self) -> None:
        self._font = open_font()
        self._codes = _Codes(self._font)
        self.units_per_em: int = self._font.face.upem
        self._fine = self.units_per_em * _FINE
        self._buffer = hb.Buffer()
        self._buffer.cluster_level = hb.BufferClusterLevel.MONOTONE_CHARACTERS
        self._buffer.flags = hb.BufferFlags.REMOVE_DEFAULT_IGNORABLES

    def shape(self, text: str, levels: bytes) -> Shaped:
        """Return the glyphs of a text whose characters have these embedding levels."""
        infos: list[Any] = []
        positions: list[Any] = []
        for start, end, level in _runs(text, levels):
            self._buffer.clear_contents()
            self._buffer.add_str(text, start, end - start)
            self._buffer.guess_segment_properties()
            self._buffer.direction = "rtl" if level % 2 else "ltr"
            hb.shape(self._font, self._buffer)
            # HarfBuzz returns them from left to right.
            order = -1 if level % 2 else 1
            infos += self._buffer.glyph_infos[::order]
            positions += self._buffer.glyph_positions[::order]
        places = [info.cluster for info in infos]
        texts = _texts(text, places)
        codes = list(map(self._codes.__getitem__, zip([info.codepoint for info in infos], texts, strict=True)))
        drawn = [position.position for position in positions]
        usual = list(map(self._codes.positions.__getitem__, codes))
        shaped = Shaped(places, codes, [advance for _, _, advance, _ in drawn], {})
        if drawn != usual:
            self._note_shifts(shaped, drawn, usual)
        return shaped

    def _note_shifts(self, shaped: Shaped, drawn: list[_Position], usual: list[_Position]) -> None:
        for index in itertools.compress(range(len(drawn)), map(operator.ne, drawn, usual)):
            x, y, advance, _ = drawn[index]
            width = usual[index][2]
            if x or y or abs(advance - width) > self._fine:
                shaped.shifts[index] = (x, y)
            else:
                shaped.advances[index] = width

    def cut_out(self) -> tuple[bytes, bytes]:
        """Return a font of these glyphs alone, and the glyph of each code in it as 16-bit numbers (a CIDToGIDMap)."""
        wanted = hb.SubsetInput()
        wanted.glyph_set.update({glyph for glyph, _ in self._codes.entries})
        wanted.drop_table_tag_set.update({int.from_bytes(tag.encode(), "big") for tag in _UNUSED_TABLES})
        wanted.flags = hb.SubsetFlags.NOTDEF_OUTLINE | hb.SubsetFlags.NO_LAYOUT_CLOSURE
        plan = hb.SubsetPlan(self._font.face, wanted)
        renumbered = dict(plan.old_to_new_glyph_mapping.items())
        numbers = [renumbered[glyph] for glyph, _ in self._codes.entries]
        return plan.execute().blob.data, struct.pack(f">{len(numbers)}H", *numbers)

    def text_of_codes(self) -> str:
        """Return the CMap by which a reader copies and searches text (PDF 32000-1, 9.10.3)."""
        texts = [(code, text.encode("utf-16-be", "replace")) for code, (_, text) in enumerate(self._codes.entries) if text]
        named = [f"<{code:04X}> <{text.hex()}>\n" for code, text in texts]
        blocks = [named[first : first + _MAPPINGS] for first in range(0, len(named), _MAPPINGS)]
        return "".join([_CMAP_HEAD, *(f"{len(b)} beginbfchar\n{''.join(b)}endbfchar\n" for b in blocks), _CMAP_END])


def _runs(text: str, levels: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the stretches of one level and one script, in the order of the text."""
    start = 0
    for level, same in itertools.groupby(levels):
        end = start + len(list(same))
        for found in _SCRIPT.finditer(text, start, end):
            yield found.start(), found.end(), level
        start = end


def _texts(text: str, places: list[int]) -> Iterable[str]:
    """Return what each glyph stands for."""
    if places == list(range(len(text))):
        return text
    if len(set(places)) == len(places):
        return map(text.__getitem__, map(slice, places, [*places[1:], len(text)]))
    return _shared_texts(text, places)


def _shared_texts(text: str, places: list[int]) -> Iterator[str]:
    """Yield what each glyph stands for. Glyphs that have their characters in common share them out."""
    shared = [(place, len(list(same))) for place, same in itertools.groupby(places)]
    for (place, glyphs), (end, _) in itertools.pairwise([*shared, (len(text), 0)]):
        for _ in range(glyphs - 1):
            yield text[place : min(place + 1, end)]
            place = min(place + 1, end)
        yield text[place:end]
