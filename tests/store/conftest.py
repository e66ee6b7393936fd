"""The databases that the store's tests run against."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.postgres_server import PostgresServer, running_server
from tests.store import factories


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server for all tests of this process."""
    with running_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let `factories.with_store` and `ask` use each kind of database in turn."""
    if request.param == "sqlite":
        yield
        return
    factories.server = server = request.getfixturevalue("postgres_server")
    yield
    factories.server = None
    server.drop_all()
