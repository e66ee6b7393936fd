"""Tables of plain text, whose columns are aligned by spaces for a typeface in which all letters are equally wide. Pure."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mailbridge.page.bidi_controls import CONTROLS

_CHUNK = re.compile(r"\S+(?: \S+)*")
_NUMBER = re.compile(r"[^\W\d_]{0,3}[\W_]{0,3}\d[\d\W_]*[^\W\d_]{0,3}")
_WIDE_GAP = 3  # spaces; two may also stand between sentences
_LONGEST = 400  # characters of a line that may be a row


@dataclass(frozen=True, slots=True)
class Cell:
    """A piece of a row: its text, the columns where it begins and ends, and whether it is aligned by its end, as numbers are."""

    text: str
    begin: int
    end: int
    by_end: bool = False


def split_blocks(lines: Iterable[str]) -> Iterator[tuple[list[str], list[list[Cell]]]]:
    """Yield the lines in blocks, each with the cells of every line if it is a table, otherwise without cells."""
    block: list[str] = []
    for line in lines:
        if line.strip():
            block.append(line)
            continue
        if block:
            yield block, table(block)
            block = []
        yield [line], []
    if block:
        yield block, table(block)


def table(lines: Sequence[str]) -> list[list[Cell]]:
    """Return the cells of each line of a table; a line that is no row has one cell or none. Empty if the lines are no table."""
    rows = [_cells(line) for line in lines]
    true_rows = [row for row in rows if len(row) > 1]
    begins = Counter(cell.begin for row in true_rows for cell in row[1:])
    ends = Counter(cell.end for row in true_rows for cell in row[1:])
    if max([*begins.values(), *ends.values()], default=0) < 2:
        return []
    return [[_aligned(cell, begins, ends) if number else cell for number, cell in enumerate(row)] for row in rows]


def _cells(line: str) -> list[Cell]:
    visible = CONTROLS.sub("", line).rstrip()
    if len(visible) > _LONGEST:
        return []
    cells = [Cell(found[0], found.start(), found.end()) for found in _CHUNK.finditer(visible)]
    gaps = [after.begin - before.end for before, after in itertools.pairwise(cells)]
    return cells if len(gaps) > 1 or max(gaps, default=0) >= _WIDE_GAP else []


def _aligned(cell: Cell, begins: Counter[int], ends: Counter[int]) -> Cell:
    by_end = ends[cell.end] > begins[cell.begin] or (
        ends[cell.end] == begins[cell.begin] and _NUMBER.fullmatch(cell.text) is not None
    )
    return Cell(cell.text, cell.begin, cell.end, by_end)
