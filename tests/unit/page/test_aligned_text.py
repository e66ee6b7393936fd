"""Tables of plain text: what is one, and where its cells stand on the page."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbridge.page.aligned_text import split_blocks, table
from mailbridge.page.text_page import render
from tests.unit.page.test_text_page import extracted, opened

ORDER = """\
Item                          Qty     Price
-------------------------------------------
Paper A4 80 gram, white        10    189.00
WWWW MMMM TONER HP 26A          2    698.00
Total                                887.00"""
HEBREW = """\
פריט                   כמות     מחיר
נייר לבן                 10   189.00
עטים                      2   698.00"""


def boxes(content: bytes) -> list[tuple[str, float, float, float]]:
    """Return each character with its left, right and lower edge."""
    with opened(content) as [page]:
        found: list[Any] = [(page.get_text_range(index, 1), page.get_charbox(index)) for index in range(page.count_chars())]
    return [(letter, box[0], box[2], box[1]) for letter, box in found if letter.strip()]


def ends_of_lines(content: bytes, *, left: bool) -> list[float]:
    lines: dict[int, float] = {}
    for _, begin, end, low in boxes(content):
        # Letters of a line stand within 4 points of its base line.
        key = next((one for one in lines if abs(one - low) < 5), round(low))
        lines[key] = min(lines.get(key, begin), begin) if left else max(lines.get(key, end), end)
    return list(lines.values())


def test_numbers_of_a_column_end_under_each_other() -> None:
    rows = [line for line in ORDER.splitlines() if "--" not in line]
    rights = ends_of_lines(render("\n".join(rows))[0], left=False)
    assert rights == pytest.approx([rights[-1]] * 4, abs=2)


def test_in_hebrew_the_columns_begin_at_the_right() -> None:
    content = render(HEBREW)[0]
    lefts, rights = ends_of_lines(content, left=True), ends_of_lines(content, left=False)
    assert min(rights) > 500
    assert lefts == pytest.approx([lefts[-1]] * 3, abs=4)


def test_no_cell_touches_the_next_one() -> None:
    wide = "WWWWWWWWWW   MMMMMMMM   1\nWWWWWWWWWW   MMMMMMMM   2"
    line = sorted(box for box in boxes(render(wide)[0]) if box[0] in "WM12")
    first = max(right for letter, _, right, _ in line if letter == "W")
    assert first + 3 < min(left for letter, left, _, _ in line if letter == "M")


@pytest.mark.parametrize(
    "lines",
    [
        ["Sentence one.  Sentence two.", "It goes on.  And it ends."],
        ["only one row      1"],
        ["      indented", "      indented"],
        ["a", "b"],
    ],
)
def test_prose_is_no_table(lines: list[str]) -> None:
    assert table(lines) == []


def test_a_table_that_is_too_wide_for_a_page_is_lines() -> None:
    row = " ".join(["word"] * 40) + "     1"
    [text] = extracted(render(f"{row}\n{row}")[0])
    assert text.split().count("word") == 80


@given(st.lists(st.text(alphabet="ab 1א-", max_size=40), max_size=8))
def test_every_line_comes_back_once_and_cells_do_not_overlap(lines: list[str]) -> None:
    blocks = list(split_blocks(lines))
    assert [line for block, _ in blocks for line in block] == lines
    for block, rows in blocks:
        assert len(rows) in (0, len(block))
        for line, row in zip(block, rows, strict=False):
            assert all(line[cell.begin : cell.end] == cell.text for cell in row)
            assert all(before.end + 2 <= after.begin for before, after in pairwise(row))
