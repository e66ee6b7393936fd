"""Rows of CSV (RFC 4180) that a spreadsheet opens and takes for text. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

# With these a cell begins that spreadsheets calculate (OWASP, "CSV Injection"); the last four are those of Japanese keyboards.
_CALCULATED = ("=", "+", "-", "@", "＝", "＋", "－", "＠")


def csv_rows(rows: Iterable[Iterable[object]]) -> bytes:
    """Return rows in UTF-8. A cell that a spreadsheet would calculate begins with an apostrophe, which makes it text."""
    written = io.StringIO()
    csv.writer(written).writerows([_cell(value) for value in row] for row in rows)
    return written.getvalue().encode("utf-8", "replace")


def _cell(value: object) -> str:
    if isinstance(value, int):
        return str(value)
    text = " ".join("".join(sign if sign.isprintable() else " " for sign in str(value or "")).split())
    return f"'{text}" if text.startswith(_CALCULATED) else text
