"""The databases that the store's tests run against."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mailbridge.store import postgres_connection, postgres_node
from tests.postgres_server import PostgresServer
from tests.store import factories
from tests.wait_helpers import PATIENCE


@pytest.fixture(autouse=True)
def _patient_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that many share may stand still for longer than a server of its own would."""
    limits = postgres_connection._LIMITS.replace("'5s'", f"'{PATIENCE:.0f}s'").replace("'10s'", f"'{PATIENCE:.0f}s'")
    monkeypatch.setattr(postgres_connection, "_LIMITS", limits)
    monkeypatch.setattr(postgres_connection, "_SILENCE", PATIENCE)
    monkeypatch.setattr(postgres_node, "_TRUSTED", PATIENCE)


@pytest.fixture(params=["postgresql", "pgbouncer"])
def only_postgres(request: pytest.FixtureRequest, postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    """Let `factories.a_store` and `ask` use PostgreSQL, also by a pool (row P14)."""
    factories.server = postgres_server
    postgres_server.pool = request.getfixturevalue("postgres_pool") if request.param == "pgbouncer" else None
    yield postgres_server
    factories.server = postgres_server.pool = None
    postgres_server.drop_all()


@pytest.fixture(params=["sqlite", "postgresql", "pgbouncer"])
def database(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let `factories.with_store` and `ask` use each kind of database in turn."""
    if request.param == "sqlite":
        yield
        return
    factories.server = server = request.getfixturevalue("postgres_server")
    server.pool = request.getfixturevalue("postgres_pool") if request.param == "pgbouncer" else None
    yield
    factories.server = server.pool = None
    server.drop_all()
