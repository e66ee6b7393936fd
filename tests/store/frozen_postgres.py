"""Writes `schema-N-postgres.sql`: a PostgreSQL database of the present schema, with rows. Run it until the schema is released:

python -m tests.store.frozen_postgres
"""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path

from sqlalchemy import create_engine, insert, select

from mailbridge.store import schema
from mailbridge.store.postgres_connection import engine
from mailbridge.store.sqlite import migrate
from tests.postgres_server import PostgresServer, running_server

FOLDER = Path(__file__).parent
# Not part of the rows that are copied: the triggers count, and the schema's number is there.
_OWN = ("counter", "meta")


def frozen(number: int) -> Path:
    """Return the file of a schema."""
    return FOLDER / f"schema-{number}-postgres.sql"


def dump(server: PostgresServer, database: str) -> str:
    """Return a database as statements."""
    options = ("--column-inserts", "--no-owner", "--no-privileges", "--no-comments", "-U", "tests", "-h", str(server.directory))
    lines = server.output("pg_dump", *options, database).splitlines()
    return "".join(f"{line}\n" for line in lines if line and not line.startswith(("--", "\\")))


def load(server: PostgresServer, database: str, number: int) -> None:
    """Fill an empty database with that of a schema."""
    server.run_script(database, frozen(number).read_text(encoding="utf-8"))


def _fill(server: PostgresServer, database: str) -> None:
    """Fill a database with rows of the newest SQLite schema that was kept: faxes and deliveries in every state, and all else."""
    with tempfile.TemporaryDirectory() as directory:
        kept = sqlite3.connect(f"{directory}/mailbridge.sqlite3")
        kept.executescript(max(FOLDER.glob("schema-[0-9].sql")).read_text(encoding="utf-8"))
        kept.close()
        migrate(Path(directory))
        source, target = create_engine(f"sqlite:///{directory}/mailbridge.sqlite3"), engine(server.url(database))
        with source.connect() as before, target.begin() as after:
            for table in schema.metadata.sorted_tables:
                found = [dict(row._mapping) for row in before.execute(select(table))] if table.name not in _OWN else []
                if found:
                    after.execute(insert(table), found)
        source.dispose()
        target.dispose()


def main() -> None:
    """Write the file."""
    with running_server() as server:
        database = server.database("frozen")
        _fill(server, database)
        frozen(schema.SCHEMA_VERSION).write_text(dump(server, database), encoding="utf-8")


if __name__ == "__main__":
    main()
