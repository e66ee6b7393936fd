"""The controls with which a text sets its own direction (UAX 9, X1 to X8), such as those that phones write around a number. Pure.

Without them `+972 50-123-4567` among Hebrew words would be drawn with its groups in the wrong order.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from mailbridge.page.bidi import embedding_levels, is_rtl

CONTROLS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_ISOLATED = re.compile("[\u2066-\u2068][^\u2066-\u2069]*")
# Letters that stand for a mark, or for what is embedded, while the rules look at what is around it.
_LEFT, _RIGHT, _ARABIC, _NEUTRAL = "a", "א", "ب", "\ufffc"
_MARKS = {"\u200e": _LEFT, "\u200f": _RIGHT, "\u061c": _ARABIC}
# The direction inside (None: that of the first letter), what stands for it outside, and whether it overrides the letters' own.
_OPENING: dict[str, tuple[bool | None, str, bool]] = {
    "\u202a": (False, _LEFT, False),
    "\u202b": (True, _RIGHT, False),
    "\u202d": (False, _LEFT, True),
    "\u202e": (True, _RIGHT, True),
    "\u2066": (False, _NEUTRAL, False),
    "\u2067": (True, _NEUTRAL, False),
    "\u2068": (None, _NEUTRAL, False),
}
_END_OF_EMBEDDING, _END_OF_ISOLATE = "\u202c", "\u2069"
_DEEPEST = 60
_FIRST_LETTERS = 200  # characters in which the direction of an isolate is looked for


@dataclass(slots=True)
class _Stretch:
    """A text of one direction. `places` are those of its letters in the visible text, -1 for what is not shown in it."""

    level: int
    rtl: bool
    overrides: bool = False
    is_isolate: bool = False
    letters: list[str] = field(default_factory=list)
    places: list[int] = field(default_factory=list)

    def add(self, letter: str, place: int = -1) -> None:
        """Add a letter."""
        self.letters.append(letter)
        self.places.append(place)

    def levels(self) -> bytes:
        """Return the level of each letter."""
        if self.overrides:
            return bytes([self.level]) * len(self.letters)
        shift = self.level - self.rtl
        return bytes(level + shift for level in embedding_levels("".join(self.letters), self.rtl))


def direction(paragraph: str) -> bool:
    """Tell whether a paragraph is read from right to left: by its first letter outside of isolates (P2)."""
    return is_rtl(_ISOLATED.sub("", paragraph))


def resolve(text: str, rtl: bool) -> tuple[str, bytes]:
    """Return a paragraph without its controls, and the level of each character that is left."""
    if CONTROLS.search(text) is None:
        return text, embedding_levels(text, rtl)
    stretches = _stretches(text, rtl)
    levels = bytearray(len(text))
    for stretch in stretches:
        for place, level in zip(stretch.places, stretch.levels(), strict=True):
            if place >= 0:
                levels[place] = level
    visible = CONTROLS.sub("", text)
    return visible, bytes(levels[: len(visible)])


def _stretches(text: str, rtl: bool) -> list[_Stretch]:
    """Split a paragraph at its controls. A control that closes nothing, or is nested too deep, has no effect."""
    stack = [_Stretch(int(rtl), rtl)]
    done = list(stack)
    count = 0
    for place, letter in enumerate(text):
        inner = stack[-1]
        if letter in _MARKS:
            inner.add(_MARKS[letter])
        elif letter in _OPENING:
            if len(stack) < _DEEPEST:
                inside, outside, overrides = _OPENING[letter]
                if inside is None:
                    inside = is_rtl(text[place + 1 : place + _FIRST_LETTERS].partition(_END_OF_ISOLATE)[0])
                inner.add(outside)
                level = inner.level + 1 + ((inner.level + 1) % 2 != inside)
                stack.append(_Stretch(level, inside, overrides, is_isolate=outside == _NEUTRAL))
                done.append(stack[-1])
        elif letter == _END_OF_EMBEDDING:
            if len(stack) > 1 and not inner.is_isolate:
                stack.pop()
        elif letter == _END_OF_ISOLATE:
            isolate = next((depth for depth in range(len(stack) - 1, 0, -1) if stack[depth].is_isolate), 0)
            del stack[isolate or len(stack) :]
        else:
            inner.add(letter, count)
            count += 1
    return done
