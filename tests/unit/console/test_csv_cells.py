"""CSV that no spreadsheet calculates."""

from __future__ import annotations

import csv
import io

import pytest

from mailbridge.console.csv_cells import csv_rows


def read(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode(), newline="")))


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "＝", "＋", "－", "＠", "\t=", "\r=", " =", "\u200f=", "\x00="])
def test_what_a_spreadsheet_would_calculate_is_text(sign: str) -> None:
    ((cell, after),) = read(csv_rows([[f"{sign}cmd|' /C calc'!A0", "x"]]))
    assert cell.startswith("'")
    assert after == "x"


def test_other_text_stays_as_it_is() -> None:
    row = ["03-9876543", 'he said "no"', "a,b", "שלום", "a=b", "", "x;y"]
    assert read(csv_rows([row])) == [row]


def test_numbers_and_what_is_missing() -> None:
    assert read(csv_rows([[-3, 0, None, ""]])) == [["-3", "0", "", ""]]


def test_a_cell_is_one_line() -> None:
    assert read(csv_rows([["a\nb\r\nc\td\x00e\u202ef", "x"]])) == [["a b c d e f", "x"]]


def test_half_of_a_surrogate_pair_does_no_harm() -> None:
    assert csv_rows([["a\ud800b"]])
