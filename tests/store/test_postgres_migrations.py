"""Row P19: a PostgreSQL database of each schema is migrated to the newest with all its rows; see `test_migrations.py`."""

from __future__ import annotations

import asyncio
import re
from typing import Any, cast

import pytest

from mailbridge.store import postgres, schema
from mailbridge.store.postgres import PostgresStore
from tests.factories import NOW
from tests.postgres_server import PostgresServer
from tests.store import frozen_postgres
from tests.store.frozen_postgres import dump, frozen, load

# The first one that PostgreSQL had.
FIRST = 5
FROZEN = range(FIRST, schema.SCHEMA_VERSION + 1)


@pytest.fixture(params=FROZEN)
def old(request: pytest.FixtureRequest, postgres_server: PostgresServer) -> Any:
    """The name of a database of each schema, with its rows."""
    database = postgres_server.create(f"schema{request.param}")
    load(postgres_server, database, request.param)
    yield database
    postgres_server.drop_all()


def rows(server: PostgresServer, database: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of each table but `meta`, as text."""
    tables = server.ask(
        database, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'meta' ORDER BY 1"
    )
    return {name: server.ask(database, cast(Any, f"SELECT t::text FROM {name} AS t ORDER BY 1")) for (name,) in tables}


def shape(server: PostgresServer, database: str) -> list[str]:
    """Return the statements that make a database without its rows, in any order."""
    without_rows = re.sub(r"(?m)^INSERT INTO .*\n", "", dump(server, database))
    return sorted(without_rows.splitlines())


def test_p19_each_schema_is_kept_with_rows() -> None:
    missing = [number for number in FROZEN if not frozen(number).exists()]
    assert missing == [], f"run python -m {frozen_postgres.__name__}"


def test_p19_a_schema_is_migrated_with_every_row(postgres_server: PostgresServer, old: str) -> None:
    before = rows(postgres_server, old)
    [(number,)] = postgres_server.ask(old, "SELECT value FROM meta WHERE key = 'schema'")
    url = postgres_server.url(old)
    assert postgres.migrate(url, unsafe=True) == (int(number), schema.SCHEMA_VERSION)
    assert postgres.migrate(url, unsafe=True) == (schema.SCHEMA_VERSION, schema.SCHEMA_VERSION)
    after = rows(postgres_server, old)
    assert {name: len(found) for name, found in before.items()} == {name: len(after[name]) for name in before}

    async def works() -> None:
        async with PostgresStore(url, lambda fax: {}, lambda type_: ["crm"], unsafe=True) as store:
            counted = await store.run(lambda tx: tx.faxes.counts())
            assert counted == dict(postgres_server.ask(old, "SELECT state, count(*) FROM fax GROUP BY 1"))
            assert set(counted) == {"queued", "uploading", "submitted", "in_doubt", "delivered", "failed", "cancelled"}
            for fax in await store.run(lambda tx: tx.faxes.newest("queued")):
                assert (await store.run(lambda tx, id=fax.id: tx.faxes.transition(id, "cancel", NOW))).state == "cancelled"  # type: ignore[misc]  # a default has no type

    asyncio.run(works())


def test_p19_a_migrated_schema_equals_a_fresh_one(postgres_server: PostgresServer, old: str) -> None:
    url = postgres_server.url(old)
    postgres.migrate(url, unsafe=True)
    fresh = postgres_server.database("fresh")
    present = shape(postgres_server, fresh)
    remedy = f"if schema {schema.SCHEMA_VERSION} is not released yet, run python -m {frozen_postgres.__name__}"
    assert shape(postgres_server, old) == present, remedy
