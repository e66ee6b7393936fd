"""Facts about a database itself, in its table `meta`: the version of its schema, and when it was created."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, insert, select

from mailbridge.store import schema


def record(connection: Connection) -> None:
    """Record that the tables of the newest schema were created now."""
    facts = {"schema": str(schema.SCHEMA_VERSION), "made": datetime.now(UTC).isoformat()}
    connection.execute(insert(schema.meta), [{"key": key, "value": value} for key, value in facts.items()])


def schema_version(connection: Connection) -> int | None:
    """Return the version of the schema, None if the table does not say it."""
    stored = _fact(connection, "schema")
    return int(stored) if stored is not None and stored.isdecimal() else None


def suits_this_version(connection: Connection) -> bool:
    """Whether this version of mailbridge can use a newer schema: a migration records `oldest`, the oldest that can.

    So the nodes that share a database can be upgraded one after the other.
    """
    stored = _fact(connection, "oldest")
    return stored is not None and stored.isdecimal() and int(stored) <= schema.SCHEMA_VERSION


def created_at(engine: Engine) -> datetime | None:
    """Return when the database was created, None if that is unknown."""
    with engine.begin() as connection:
        stored = _fact(connection, "made")
    return None if stored is None else datetime.fromisoformat(stored)


def too_new(database: Path | str, found: int) -> str:
    """Return what to say about a database that a newer mailbridge has written."""
    return f"{database} has schema {found}, this mailbridge knows {schema.SCHEMA_VERSION}; install the newer version again"


def _fact(connection: Connection, key: str) -> str | None:
    return connection.execute(select(schema.meta.c.value).where(schema.meta.c.key == key)).scalar()
