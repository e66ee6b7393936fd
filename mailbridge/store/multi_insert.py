"""Inserts many rows by one statement.

The sqlite3 module gives up the interpreter's lock for each row of an `executemany`, and has to wait for it each time: while the
event loop was busy, 100 faxes took 90 ms instead of 20 (tests/bench/hostile.py, "recipients").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Dialect, Table, insert

from mailbridge.store.prepared import run_text

# SQLite takes 32,766 parameters in one statement; so many rows of any table have fewer.
MAX_ROWS = 250


@dataclass(frozen=True, slots=True)
class _Statement:
    """An INSERT of one row as text, the columns in the order of its parameters, and what makes a column's value a parameter."""

    text: str
    names: tuple[str, ...]
    processors: tuple[Callable[[Any], Any] | None, ...]

    def parameters(self, row: Mapping[str, Any]) -> list[Any]:
        return [
            row[name] if process is None else process(row[name])
            for name, process in zip(self.names, self.processors, strict=True)
        ]


@lru_cache(maxsize=64)
def _statement(table: Table, given: tuple[str, ...], dialect: Dialect) -> _Statement:
    names = tuple(column.name for column in table.c if column.name in given)
    compiled = insert(table).compile(dialect=dialect, column_keys=list(names))
    processors = (table.c[name].type.dialect_impl(dialect).bind_processor(dialect) for name in names)
    return _Statement(str(compiled), names, tuple(processors))


@lru_cache(maxsize=512)
def _repeated(text: str, count: int) -> str:
    """Return an INSERT of one row as one of `count` rows."""
    head, _, values = text.partition(" VALUES ")
    return f"{head} VALUES {', '.join([values] * count)}"


def insert_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, which have the same columns. Raises DBAPIError."""
    for start in range(0, len(rows), MAX_ROWS):
        chunk = rows[start : start + MAX_ROWS]
        statement = _statement(table, tuple(chunk[0]), connection.dialect)
        parameters = [value for row in chunk for value in statement.parameters(row)]
        run_text(connection, _repeated(statement.text, len(chunk)), tuple(parameters))
