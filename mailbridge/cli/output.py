"""Output of commands: tables for people, JSON for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime, tzinfo

import click


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


def print_table(heads: Sequence[str], rows: Sequence[Sequence[object]], empty: str) -> None:
    """Print a table, or the sentence `empty` if it has no rows. In a pipe every row is one line of any width."""
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
