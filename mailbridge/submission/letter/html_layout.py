"""The lines of an HTML mail while it is read: those under each other, and those of tables. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

MAX_COLUMNS, _MAX_CELL = 8, 80  # of a table that keeps its columns: how many, and the characters of each cell


@dataclass(slots=True)
class Flow:
    """Lines under each other: those of the mail, or those of one cell of a table."""

    lines: list[str] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    marker: str = ""
    indent: str = ""
    is_apart: bool = False

    def add(self, text: str) -> None:
        """Add text to the line. Spaces do not begin one."""
        if self.pieces or text.strip(" "):
            self.pieces.append(text)

    def ends_in_word(self) -> bool:
        """Return whether the last character so far is a letter or a digit."""
        return bool(self.pieces) and self.pieces[-1][-1:].isalnum()

    def end_line(self) -> None:
        """End the line, if one was begun."""
        if self.pieces:
            self.break_line()

    def break_line(self) -> None:
        """End the line, even an empty one."""
        line = re.sub(" {2,}", " ", "".join(self.pieces)).strip(" ")
        self.pieces.clear()
        self.add_line(f"{self.marker or self.indent}{line}" if line else "")
        if line:
            self.marker = ""

    def set_apart(self) -> None:
        """End the line; the next one follows after an empty line."""
        self.end_line()
        self.is_apart = True

    def add_line(self, line: str) -> None:
        """Add a whole line."""
        if self.is_apart and line.strip() and self.lines and self.lines[-1].strip():
            self.lines.append("")
        self.is_apart = False
        self.lines.append(line)


@dataclass(slots=True)
class Table:
    """A table that has not ended yet."""

    rows: list[list[Flow]] = field(default_factory=list)
    cell: Flow | None = None
    is_nesting: bool = False
    waiting: int = 0  # columns that the last cell takes beside its own

    def add_row(self) -> None:
        """Begin a row."""
        self.end_cell()
        self.waiting = 0
        self.rows.append([])

    def add_cell(self, columns: int = 1) -> None:
        """Begin a cell of so many columns, in a row of its own where none was begun."""
        self.end_cell()
        self.spread_cell()
        if not self.rows:
            self.rows.append([])
        self.cell = Flow()
        self.rows[-1].append(self.cell)
        self.waiting = columns - 1

    def spread_cell(self) -> None:
        """Add empty cells for the further columns of the last one: what follows in the row stands below its heading."""
        if self.rows and len(self.rows[-1]) + self.waiting <= MAX_COLUMNS:
            self.rows[-1] += [Flow() for _ in range(self.waiting)]
        self.waiting = 0

    def end_cell(self) -> None:
        """End the cell, if one was begun."""
        if self.cell is not None:
            self.cell.end_line()
            self.cell = None

    def to_lines(self) -> list[str]:
        """Return the rows as lines: the columns of data separated by tabs, the cells of a layout under each other."""
        self.end_cell()
        separator = "\t" if self._has_columns() else "  "
        lines: list[str] = []
        for row in self.rows:
            if all(len(cell.lines) <= 1 for cell in row):
                line = separator.join("".join(cell.lines) or " " for cell in row)
                lines += [line.rstrip()] if line.strip() else []
            else:
                lines += [line for cell in row for line in cell.lines]
        return lines

    def _has_columns(self) -> bool:
        cells = [cell for row in self.rows for cell in row]
        few = all(len(row) <= MAX_COLUMNS for row in self.rows)
        return (
            few and not self.is_nesting and all(len(cell.lines) <= 1 and len("".join(cell.lines)) <= _MAX_CELL for cell in cells)
        )
