"""What commands print: a short table for people, JSON for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime

import click


def print_json(value: object) -> None:
    """Print one JSON document, in ASCII: what came in a mail's subject must not steer a terminal."""
    click.echo(json.dumps(value, indent=2))


def plain(value: object) -> str:
    """Return a cell's text: `-` for nothing, and no character that could steer a terminal or that it cannot show."""
    text = "" if value is None else str(value)
    safe = "".join(letter if letter.isprintable() else "�" for letter in text)
    encoding = sys.stdout.encoding or "utf-8"
    return safe.encode(encoding, "replace").decode(encoding) or "-"


def local(time: str | None, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Return an ISO 8601 time in this machine's zone, as people read it."""
    return "-" if time is None else datetime.fromisoformat(time).astimezone().strftime(form)


def print_table(heads: Sequence[str], rows: Sequence[Sequence[object]], empty: str) -> None:
    """Print a table, or the sentence `empty`. Into a pipe a row is one line, whatever its width."""
    if not rows:
        click.echo(empty)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = sys.stdout.isatty()
    table = Table(box=None, pad_edge=False, show_edge=False)
    for head in heads:
        table.add_column(head, no_wrap=not terminal, overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    Console(file=sys.stdout, width=None if terminal else 100_000, highlight=False).print(table, soft_wrap=not terminal)
