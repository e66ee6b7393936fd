"""pgbouncer before a PostgreSQL server: the pool that gives each transaction to another connection."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.postgres_server import POOL_PORT, USER, PostgresServer, server_directory, wait_for_answer

_CONFIG = """
[databases]
* = host={server} user=tests
[pgbouncer]
listen_port = {port}
unix_socket_dir = {directory}
logfile = {directory}/log
auth_type = any
pool_mode = transaction
max_client_conn = 1000
default_pool_size = 20
server_round_robin = 1
server_login_retry = 1
query_wait_timeout = 5
admin_users = tests
"""


def program() -> str | None:
    """Return where the program is, None if it is not installed."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def running_pool(server: PostgresServer) -> Iterator[Path]:
    """Run a pool before a server, in transaction mode; yield the directory of its socket, for `server.pool`."""
    found = program()
    if found is None:
        pytest.skip("the program `pgbouncer` is not installed (Debian: pgbouncer)")
    with server_directory() as directory:
        config = directory / "pgbouncer.ini"
        config.write_text(_CONFIG.format(server=server.directory, directory=directory, port=POOL_PORT))
        process = subprocess.Popen([found, "-q", str(config)], user=USER, cwd="/", stdin=subprocess.DEVNULL)
        try:
            wait_for_answer(f"postgresql://tests@/postgres?host={quote(str(directory), safe='')}&port={POOL_PORT}")
            yield directory
        finally:
            process.kill()
            process.wait()
