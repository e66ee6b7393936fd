"""Notices a database that is a copy of another one, as after pg_restore: what it has as queued may have been sent since.

The first daemon records on which server and in which database it works. In a copy, that is another one. A standby, a backup of
the server's files, and a restore into the same database cannot be told from the original; after those, run `mailbridge restore`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from mailbridge.errors import RestoreUnfinished
from mailbridge.store import schema
from mailbridge.store.on_conflict import insert_or_ignore, insert_or_replace
from mailbridge.store.postgres_connection import engine as engine_of
from mailbridge.store.postgres_faults import PostgresFaults, sqlstate
from mailbridge.store.postgres_requirements import check_schema

_KEY: Final = "home"
# The number that initdb gave to the server, and that of the database.
_THIS: Final = text(
    "SELECT (SELECT system_identifier FROM pg_control_system()) || '/' || oid FROM pg_database WHERE datname = current_database()"
)
_HOME: Final = text(f"SELECT value FROM meta WHERE key = '{_KEY}'")
_NO_RIGHT: Final = "42501"


def check_home(url: str) -> None:
    """Record which database this is, blocking, unless a daemon has.

    Raises RestoreUnfinished for a copy, SchemaTooNew, StoreUnavailable.
    """

    def work(connection: Connection, this: str) -> str | None:
        check_schema(connection)
        connection.execute(insert_or_ignore(schema.meta), {"key": _KEY, "value": this})
        home: str | None = connection.execute(_HOME).scalar()
        return home

    this, home = _at(url, work)
    if home != this:
        raise RestoreUnfinished(
            "the database of store.url is a copy of another one, and faxes may have been sent since it was made;"
            " run mailbridge restore, which lets nothing be sent twice"
        )


def record_home(url: str) -> None:
    """Record that this database is the original from now on, blocking. Raises StoreUnavailable."""

    def work(connection: Connection, this: str) -> str:
        connection.execute(insert_or_replace(schema.meta, ["key"], ["key", "value"]), {"key": _KEY, "value": this})
        return this

    _at(url, work)


def _at(url: str, work: Callable[[Connection, str], str | None]) -> tuple[str | None, str | None]:
    """Run `work` in a transaction with the identity of the database; return that, and the result."""
    engine = engine_of(url)
    try:
        with engine.begin() as connection:
            this = connection.execute(_THIS).scalar_one()
            return this, work(connection, this)
    except DBAPIError as error:
        if sqlstate(error.orig) == _NO_RIGHT:  # a provider may not let users see the number of the server
            return None, None
        raise PostgresFaults().not_reached(error) from None
    finally:
        engine.dispose()
