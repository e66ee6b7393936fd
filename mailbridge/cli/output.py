"""Output of commands: tables for people, JSON for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Container, Sequence
from datetime import datetime, tzinfo

import click

# Characters that a column of prose keeps at least, and those between columns.
_PROSE_WIDTH, _GAP = 16, 2


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


def local(time: str | None, form: str = "%Y-%m-%d %H:%M:%S", zone: tzinfo | None = None) -> str:
    """Return an ISO 8601 time for people, in this machine's time zone or in `zone`."""
    return "-" if time is None else datetime.fromisoformat(time).astimezone(zone).strftime(form)


def print_table(heads: Sequence[str], rows: Sequence[Sequence[object]], empty: str, prose: Container[str] = ()) -> None:
    """Print a table, or the sentence `empty` if it has no rows.

    On a terminal only the columns in `prose` wrap, so that IDs and numbers can be copied. In a pipe every row is one line.
    """
    if not rows:
        click.echo(empty)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False)
    wraps = [sys.stdout.isatty() and head in prose for head in heads]
    table = Table(box=None, pad_edge=False, show_edge=False)
    for head, wrap in zip(heads, wraps, strict=True):
        table.add_column(head, no_wrap=not wrap, overflow="fold")
    cells = [[Text(plain(cell)) for cell in row] for row in rows]
    for row in cells:
        table.add_row(*row)
    # Wider than the terminal if it must be; then the terminal itself wraps the lines.
    widths = (max(len(heads[n]), *(_PROSE_WIDTH if wrap else row[n].cell_len for row in cells)) for n, wrap in enumerate(wraps))
    console.width = max(console.width if any(wraps) else 0, sum(widths) + _GAP * len(heads))
    console.print(table, soft_wrap=not any(wraps))
