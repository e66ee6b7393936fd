"""Migrations from each released schema to the newest: a module `to_N` migrates schema N-1 to N, in one transaction.

PostgreSQL begins with schema 5. From `to_6` on, a module is also for PostgreSQL, where nodes of the former version may work:
it only adds what they do not need, and sets the key `oldest` of `meta` to the oldest schema whose version of mailbridge can work
with it. What they do need is removed a version later.

Do not change a module after its release. It describes the tables as they were then, so it never imports `store.schema`.
"""

from __future__ import annotations

from importlib import import_module

from sqlalchemy import Connection, text


def migrate(connection: Connection, found: int, newest: int) -> None:
    """Migrate the tables from schema `found` to `newest`, in the transaction of `connection`."""
    # Importing Alembic takes 0.35 s, and most starts have nothing to migrate.
    from alembic.migration import MigrationContext
    from alembic.operations import Operations

    operations = Operations(MigrationContext.configure(connection))
    for version in range(found + 1, newest + 1):
        import_module(f"{__name__}.to_{version}").upgrade(operations)
        connection.execute(text("UPDATE meta SET value = :version WHERE key = 'schema'"), {"version": str(version)})
