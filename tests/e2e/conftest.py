"""The databases that the daemons of the end-to-end tests keep everything in.

MAILBRIDGE_TEST_DATABASES names them, separated by commas: `sqlite`, `postgresql`, and `pgbouncer`, which is PostgreSQL by a pool
in transaction mode (row P14). Each test runs with each, and each daemon has a database of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests import pgbouncer
from tests.e2e import environment


def _chosen() -> list[str]:
    given = os.environ.get("MAILBRIDGE_TEST_DATABASES", "")
    return given.split(",") if given else ["sqlite", "pgbouncer" if pgbouncer.program() else "postgresql"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Let a test run with each database, unless it is about one: `@pytest.mark.database("sqlite", reason="…")`."""
    only = metafunc.definition.get_closest_marker("database")
    metafunc.parametrize("_database", only.args if only else _chosen(), indirect=True)


@pytest.fixture(autouse=True)
def _database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param == "sqlite":
        yield
        return
    server = request.getfixturevalue("postgres_server")
    server.pool = request.getfixturevalue("postgres_pool") if request.param == "pgbouncer" else None
    monkeypatch.setattr(environment, "server", server)
    yield
    server.pool = None
    server.drop_all()
