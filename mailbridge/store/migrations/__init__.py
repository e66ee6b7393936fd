"""Migrations from each released schema to the newest: a module `to_N` migrates schema N-1 to N, in one transaction.

Do not change a module after its release. It describes the tables as they were then, so it never imports `store.schema`.
"""

from __future__ import annotations

from importlib import import_module

from sqlalchemy import Connection


def migrate(connection: Connection, found: int, newest: int) -> None:
    """Migrate the tables from schema `found` to `newest`, in the transaction of `connection`."""
    # Importing Alembic takes 0.35 s, and most starts have nothing to migrate.
    from alembic.migration import MigrationContext
    from alembic.operations import Operations

    operations = Operations(MigrationContext.configure(connection))
    for version in range(found + 1, newest + 1):
        import_module(f"{__name__}.to_{version}").upgrade(operations)
        connection.exec_driver_sql("UPDATE meta SET value = ? WHERE key = 'schema'", (str(version),))
