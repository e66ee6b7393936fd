"""`INSERT … ON CONFLICT`, as SQLite and PostgreSQL both write it. SQLAlchemy has a class for each, which loads its dialect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ClauseElement, Insert, Table, bindparam, insert
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.base import SyntaxExtension
from sqlalchemy.sql.visitors import InternalTraversal


class _OnConflict(SyntaxExtension, ClauseElement):
    """What happens to a row whose `key` is taken: its columns in `changed` are set, or nothing if there are none."""

    inherit_cache = True
    _traverse_internals = [  # noqa: RUF012 (no ClassVar: SQLAlchemy's base class declares it without)
        ("key", InternalTraversal.dp_string_list),
        ("changed", InternalTraversal.dp_string_list),
    ]

    def __init__(self, key: Sequence[str], changed: Sequence[str]) -> None:
        self.key, self.changed = list(key), list(changed)

    def apply_to_insert(self, insert_stmt: Any) -> None:
        """Let the clause stand after VALUES."""
        insert_stmt.apply_syntax_extension_point(self.append_replacing_same_type, "post_values")


@compiles(_OnConflict)
def _compile(element: _OnConflict, compiler: Any, **_: Any) -> str:
    quote = compiler.preparer.quote
    if not element.changed:
        return "ON CONFLICT DO NOTHING"
    key = ", ".join(map(quote, element.key))
    changes = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in element.changed)
    return f"ON CONFLICT ({key}) DO UPDATE SET {changes}"


def insert_or_replace(table: Table, key: Sequence[str], names: Sequence[str]) -> Insert:
    """Return an INSERT of the columns `names`, or an UPDATE of the row that has the same `key`."""
    values: dict[str, Any] = {name: bindparam(name) for name in names}
    return insert(table).values(values).ext(_OnConflict(key, [name for name in names if name not in key]))


def insert_or_ignore(table: Table) -> Insert:
    """Return an INSERT that does nothing if a row with the same key is there; its `rowcount` says so."""
    return insert(table).ext(_OnConflict((), ())).execution_options(preserve_rowcount=True)
