"""A text as a page: Hebrew stands from right to left, whatever else is on its line."""

from __future__ import annotations

from typing import Any

import pypdfium2
import pytest

from mailbridge.submission.page import clean, is_rtl, render, text_of_html


def places(content: bytes) -> dict[str, float]:
    """Return where each character first stands on the first page, in points from the left."""
    document: Any = pypdfium2.PdfDocument(content)
    page = document[0]
    text = page.get_textpage()
    found: dict[str, float] = {}
    for index in range(text.count_chars()):
        found.setdefault(text.get_text_range(index, 1), text.get_charbox(index)[0])
    text.close()
    page.close()
    document.close()
    return found


def test_hebrew_reads_from_right_to_left() -> None:
    content, pages = render("אבגד")
    at = places(content)
    assert pages == 1
    assert at["א"] > at["ב"] > at["ג"] > at["ד"] > 450


def test_a_mixed_line_keeps_each_language_in_its_direction() -> None:
    at = places(render("אב xy 12 גד")[0])
    assert at["א"] > at["ב"] > at["y"] > at["x"] or at["א"] > at["ב"] > at["2"]
    assert at["x"] < at["y"]
    assert at["1"] < at["2"]
    assert at["ב"] > at["y"]
    assert at["x"] > at["ג"] > at["ד"]


def test_an_english_line_starts_at_the_left() -> None:
    at = places(render("xy אב")[0])
    assert at["x"] < at["y"] < at["ב"] < at["א"] < 150


def test_a_number_among_hebrew_words_stands_between_them_also_in_an_english_line() -> None:
    at = places(render("Re: אב 17 גד (ה) z")[0])
    signs = ["R", "e", ":", "ה", "ד", "ג", "1", "7", "ב", "א", "z"]
    assert signs == sorted(signs, key=at.__getitem__)
    assert at[":"] < places(render("Re: אב 17")[0])["1"] < places(render("Re: אב 17")[0])["ב"]


def test_a_long_line_of_words_and_numbers_is_broken_and_each_piece_keeps_its_place() -> None:
    content, pages = render("order " + "אב 17 " * 60)
    document = pypdfium2.PdfDocument(content)
    page = document[0]
    text = page.get_textpage()
    assert (pages, text.get_text_bounded().count("17")) == (1, 60)
    assert all(text.get_charbox(index)[2] < page.get_width() - 40 for index in range(text.count_chars()))
    text.close()
    page.close()
    document.close()


@pytest.mark.parametrize("text", ["a א\u00ad 1", "a א " + "1" * 500, "a א\u200d1\t2", "a א 1" * 400])
def test_a_line_that_fpdf_cuts_otherwise_is_set_all_the_same(text: str) -> None:
    assert render(text, text)[1] >= 1


def test_the_head_stands_above_the_text() -> None:
    content, _ = render("z", subject="נושא", sender="q@w.co", date="1 Jan")
    at = places(content)
    assert {"נ", "q", "J", "z"} <= at.keys()


def test_a_long_text_takes_more_pages() -> None:
    assert render("line\n" * 120)[1] == 3


@pytest.mark.parametrize(
    ("text", "rtl"), [("שלום", True), ("123 שלום", True), ("a שלום", False), ("123", False), ("مرحبا", True)]
)
def test_direction_is_of_the_first_strong_character(text: str, rtl: bool) -> None:
    assert is_rtl(text) is rtl


def test_marks_of_direction_and_controls_go() -> None:
    assert clean("a\u202eb\u200fc\x00d\r\ne\xa0f\ufeff") == "abcd\ne f"


def test_html_becomes_its_readable_text() -> None:
    source = (
        "<head><title>t</title><style>s{}</style></head><body><p>שלום&nbsp;<b>רב</b></p><script>x()</script><div>a<br>b</div>"
    )
    assert [line for line in text_of_html(source).split("\n") if line] == ["שלום רב", "a", "b"]
