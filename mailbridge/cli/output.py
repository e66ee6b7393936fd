"""Output of commands: tables for people, JSON for machines."""

from __future__ import annotations

import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Container, Iterator, Sequence
from datetime import datetime, tzinfo

import click

# Columns of a terminal between two columns of a table, and before the lines below a row; characters of a short id.
_GAP, _INDENT, _SHORT_ID = 2, 10, 8
_SEPARATOR = " · "


def print_json(value: object) -> None:
    """Print a JSON document in ASCII, so that text from a mail cannot control the terminal."""
    click.echo(json.dumps(value, indent=2))


def plain(value: object) -> str:
    """Return a value as text: `-` if empty, without characters that control the terminal or that it cannot show."""
    text = printable("" if value is None else str(value))
    encoding = (sys.stdout and sys.stdout.encoding) or "utf-8"  # None if it was closed
    return text.encode(encoding, "replace").decode(encoding) or "-"


def printable(text: str) -> str:
    """Return a text in which every character that could control a terminal is replaced."""
    return "".join(character if character.isprintable() else "�" for character in text)


def local(time: str | None, zone: tzinfo, form: str = "%Y-%m-%d %H:%M:%S %Z") -> str:
    """Return an ISO 8601 time for people, in a time zone and with its name."""
    return "-" if time is None else datetime.fromisoformat(time).astimezone(zone).strftime(form)


def short_time(time: str | None, zone: tzinfo) -> str:
    """Return a time for a table: to the minute."""
    return local(time, zone, "%Y-%m-%d %H:%M %Z")


def short_id(id: str | None) -> str:
    """Return the end of an id, which every command takes if it is the end of one id only. In a pipe, return the whole id."""
    return plain(id)[-_SHORT_ID:] if _width() else plain(id)


def _width() -> int | None:
    """Return the width of the terminal, or None in a pipe, where a row has one line."""
    if not (sys.stdout is not None and sys.stdout.isatty()) and "COLUMNS" not in os.environ:
        return None
    return shutil.get_terminal_size().columns


def print_table(heads: Sequence[str], rows: Sequence[Sequence[object]], empty: str, prose: Container[str] = ()) -> None:
    """Print a table, or the sentence `empty` if it has no rows.

    In a pipe every row is one line. On a terminal that is too narrow for that, the columns in `prose` go to lines of their own
    below the row, and so do the last of the others if they still do not fit.
    """
    if not rows:
        click.echo(empty)
        return
    cells = [[plain(cell) for cell in row] for row in rows]
    widths = [max(_cells(text) for text in column) for column in zip(heads, *cells, strict=True)]
    width, beside = _width(), list(range(len(heads)))
    if width is not None and sum(widths) + _GAP * (len(heads) - 1) > width:
        beside = [n for n in beside if heads[n] not in prose]
        while len(beside) > 1 and sum(widths[n] for n in beside) + _GAP * (len(beside) - 1) > width:
            beside.pop()
    below = [n for n in range(len(heads)) if n not in beside]
    for number, row in enumerate((heads, *cells)):
        line = (" " * _GAP).join(row[n] + " " * (widths[n] - _cells(row[n])) for n in beside)
        click.echo(line.rstrip())
        shown = _SEPARATOR.join(row[n] for n in below if row[n] != "-")
        for piece in _wrapped(shown, (width or 0) - _INDENT):
            click.echo(" " * _INDENT + piece)
        if below and number == 0:
            click.echo("-" * min(width or 0, sum(widths[n] for n in beside) + _GAP * (len(beside) - 1)))


def _cells(text: str) -> int:
    """Return how many columns of a terminal a text takes: none for marks above letters, two for wide letters."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text
    )


def _wrapped(text: str, width: int) -> Iterator[str]:
    """Yield a text in lines of at most `width` columns, broken at blanks where there are any."""
    line = ""
    for word in text.split():
        if line and _cells(f"{line} {word}") > width:
            yield line
            line = ""
        line = f"{line} {word}".strip()
        while len(line) > 1 and _cells(line) > width:
            fits = max(1, next(n for n in range(len(line), -1, -1) if n <= 1 or _cells(line[:n]) <= width))
            yield line[:fits]
            line = line[fits:]
    if line:
        yield line
