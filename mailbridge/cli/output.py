"""What commands print: a short table for people, JSON for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime, tzinfo

import click


def print_json(value: object) -> None:
    """Print one JSON document, in ASCII: what came in a mail's subject must not steer a terminal."""
    click.echo(json.dumps(value, indent=2))


def plain(value: object) -> str:
    """Return a cell's text: `-` for nothing, and no character that could steer a terminal or that it cannot show."""
    text = harmless("" if value is None else str(value))
    encoding = (sys.stdout and sys.stdout.encoding) or "utf-8"  # there is none where it was closed
    return text.encode(encoding, "replace").decode(encoding) or "-"


def harmless(text: str) -> str:
    """Return a text without the characters that could steer a terminal."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def local(time: str | None, form: str = "%Y-%m-%d %H:%M:%S", zone: tzinfo | None = None) -> str:
    """Return an ISO 8601 time as people read it, in this machine's zone or another."""
    return "-" if time is None else datetime.fromisoformat(time).astimezone(zone).strftime(form)


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
