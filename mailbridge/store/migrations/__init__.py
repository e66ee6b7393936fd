"""The way from each earlier schema to the newest: a module `to_N` leads from schema N-1 to N, within one transaction.

A module is frozen once it was released: it speaks of the tables as they were, and never imports `store.schema`.
"""

from __future__ import annotations

from importlib import import_module

from sqlalchemy import Connection


def migrate(connection: Connection, found: int, newest: int) -> None:
    """Migrate the tables from schema `found` to `newest` and note it, in the transaction that `connection` is in."""
    # Alembic takes 0.35 s to import, and most starts have nothing to migrate.
    from alembic.migration import MigrationContext
    from alembic.operations import Operations

    operations = Operations(MigrationContext.configure(connection))
    for version in range(found + 1, newest + 1):
        import_module(f"{__name__}.to_{version}").upgrade(operations)
        connection.exec_driver_sql("UPDATE meta SET value = ? WHERE key = 'schema'", (str(version),))
