"""Controls of direction: what phones and mail programs write around numbers and names keeps them whole, and costs no more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbridge.page.bidi import visual_order
from mailbridge.page.bidi_controls import CONTROLS, direction, resolve
from mailbridge.page.text_page import render
from tests.unit.page.test_text_page import places
from tests.work_counter import calls


def shown(text: str) -> str:
    """Return a line as it looks from left to right."""
    visible, levels = resolve(text, direction(text))
    pieces = [(visible[start:end], level) for start, end, level in visual_order(levels, 0, len(visible))]
    return "".join(piece[::-1] if level % 2 else piece for piece, level in pieces)


@pytest.mark.parametrize(
    ("text", "looks"),
    [
        ("טל +972 50-123 אב", "בא 50-123 972+ לט"),
        ("טל \u202a+972 50-123\u202c אב", "בא +972 50-123 לט"),
        ("טל \u2066+972 50-123\u2069 אב", "בא +972 50-123 לט"),
        ("טל \u2068+972 50-123\u2069 אב", "בא +972 50-123 לט"),
        ("טל \u200e+972 50-123\u200e אב", "בא +972 50-123 לט"),
        ("מעל \u200e-5° היום", "םויה -5° לעמ"),
        ("call \u2067אב 5\u2069, ok", "call 5 בא, ok"),
        ("\u2068דנה\u2069 wrote", "הנד wrote"),
        ("\u202dאב\u202c cd", "אב cd"),
        ("x \u202eabc\u202c", "x cba"),
        ("a\u202cb\u2069c", "abc"),
        ("א\u202aa \u2067בג\u202c\u2069 b", "a גב bא"),
    ],
)
def test_line_looks_as_its_controls_say(text: str, looks: str) -> None:
    assert shown(text) == looks


@given(st.text(st.sampled_from("aאب1+ (\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"), max_size=200))
def test_every_character_but_the_controls_is_shown_once(text: str) -> None:
    assert sorted(shown(text)) == sorted(CONTROLS.sub("", text))
    render(f"{text}\n{text}\tx\n")


@pytest.mark.parametrize("piece", ["\u202a", "\u2067a", "\u2069", "\u202aא\u202c", "\u200e1"])
def test_work_grows_with_the_length_of_a_text_and_not_faster(piece: str) -> None:
    short, long = (calls(lambda size=size: resolve(piece * size, True)) for size in (1000, 8000))  # type: ignore[misc]
    assert long < 12 * short


def test_number_of_a_phone_keeps_its_order_on_the_page() -> None:
    x = places(render("טל \u202a+12 34\u202c אב")[0])
    assert x["+"] < x["1"] < x["2"] < x["3"] < x["4"]
    assert "\u202a" not in x
