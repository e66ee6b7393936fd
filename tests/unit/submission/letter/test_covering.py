"""Which text beside documents deserves a page: the texts of tests/corpus/covering.toml, and what a hostile one costs."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbridge.submission.letter.covering import deserves_page, own_text

TEXTS: list[dict[str, Any]] = tomllib.loads((Path(__file__).parents[3] / "corpus" / "covering.toml").read_text(encoding="utf-8"))[
    "text"
]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: str(text["name"]))
def test_text_deserves_a_page_only_if_it_says_something(text: dict[str, Any]) -> None:
    assert deserves_page(text["text"].strip("\n")) is text["page"]


@pytest.mark.parametrize("text", [text for text in TEXTS if text["page"]], ids=lambda text: str(text["name"]))
def test_covering_lines_around_an_instruction_do_not_hide_it(text: dict[str, Any]) -> None:
    covered = f"Hi Dana,\n\nPlease find attached.\n\n{text['text']}\n\nBest regards,\nYossi Levi\nTel: 03-1234567"
    assert deserves_page(covered)


def test_quoted_header_of_outlook_needs_more_than_a_line_that_looks_alike() -> None:
    assert deserves_page("From: the claims department\n\nYour claim 1177 was paid")
    assert not deserves_page("Attached.\n\nFrom: a\nSent: b\nTo: c\nSubject: d\n\nPlease deliver")


def test_postscript_below_the_closing_counts() -> None:
    assert deserves_page("See attached.\n\nRegards,\nDana\n\nP.S. the second page is for the bank")


def test_long_text_is_not_examined_further() -> None:
    assert deserves_page("Please find attached. " + "Lorem ipsum dolor. " * 200)


@given(st.text(st.characters(codec="utf-8"), max_size=400))
def test_any_text_is_decided(text: str) -> None:
    assert deserves_page(text) in (True, False)


@given(
    st.lists(
        st.sampled_from(
            [">", "On ", "wrote:", "בתאריך", "From:", "Sent:", "-- ", "\n", "a" * 90, "Regards", "please", "@x.", " ", 'מצ"ב']
        )
    )
)
def test_own_text_only_removes(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert set(own_text(text).split()) <= set(text.replace(",", ", ").split()) | set(text.split())
