"""Direction: levels are those of UAX 9, compared with another implementation of it."""

from __future__ import annotations

import re

import pytest
from fpdf.bidi import BidiParagraph
from fpdf.enums import TextDirection
from hypothesis import assume, example, given
from hypothesis import strategies as st

from mailbridge.page.bidi import embedding_levels, is_rtl, visual_order


def shown(text: str, rtl: bool) -> str:
    """Return a line as it looks from left to right (without mirrored brackets)."""
    pieces = [(text[start:end], level) for start, end, level in visual_order(embedding_levels(text, rtl), 0, len(text))]
    return "".join(piece[::-1] if level % 2 else piece for piece, level in pieces)


@pytest.mark.parametrize(
    ("text", "rtl"), [("שלום", True), ("123 שלום", True), ("a שלום", False), ("123", False), ("مرحبا", True), ("", False)]
)
def test_direction_is_of_the_first_strong_character(text: str, rtl: bool) -> None:
    assert is_rtl(text) is rtl


@pytest.mark.parametrize(
    ("text", "looks"),
    [
        ("אב גד", "דג בא"),
        ("אב 17 גד", "דג 17 בא"),
        ("אב xy 12 גד", "דג xy 12 בא"),
        ("טל 03-1234567.", ".03-1234567 לט"),
        ("סך 1,234.50 ₪", "₪ 1,234.50 ךס"),
        ("א (b) ג", "ג )b( א"),
        ("Re: אב 17 גד", "Re: דג 17 בא"),
        ("a (אב) c", "a (בא) c"),
        ("a אב (גד) ה", "a ה )דג( בא"),
        ("كم 17%", "%17 مك"),
        ("plain 12%", "plain 12%"),
    ],
)
def test_a_line_looks_as_a_reader_expects(text: str, looks: str) -> None:
    assert shown(text, is_rtl(text)) == looks


_SIGNS = st.sampled_from('abאבגم١12+-,.:/$%₪ ()[]!?"\u05b0\u0301')


@given(st.text(_SIGNS, max_size=40), st.booleans())
@example("א(a[ב)c]1", True)
@example("(" * 70 + "א" + ")" * 70, False)
def test_levels_are_those_of_another_implementation(text: str, rtl: bool) -> None:
    # A mark on a bracket is a neutral here.
    assume(not re.search("[()\\[\\]][\u05b0\u0301]", text))
    paragraph = BidiParagraph(text=text, base_direction=TextDirection.RTL if rtl else TextDirection.LTR, preserve_bn_chars=True)
    assert list(embedding_levels(text, rtl)) == [letter.embedding_level for letter in paragraph.characters]


@given(st.text(_SIGNS, max_size=40), st.booleans())
def test_a_line_is_shown_whole(text: str, rtl: bool) -> None:
    assert sorted(shown(text, rtl)) == sorted(text)


def test_what_the_rules_ignore_has_the_level_before_it() -> None:
    assert embedding_levels("א\u200d1\u200d+\u200d2 \u200da", True) == bytes([1, 1, 2, 2, 2, 2, 2, 1, 1, 2])
