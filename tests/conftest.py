"""What holds for every test: its files are in memory, its log's setup ends with it, and in CI it is not skipped without a reason.

The tests run side by side (pytest-xdist) and share nothing: each has its own `tmp_path` and asks the kernel for its ports.

On a disk half of the time goes into syncs. That they are asked for, and in which order, is proved by watching the calls.
With CI=true, as `.ci/run` sets it, a skipped test is a failure, unless its reason begins with what this machine cannot do.
"""

from __future__ import annotations

import compileall
import gc
import os
from collections.abc import Generator, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
import structlog

from tests.loopback_ports import reserved_port
from tests.time_limit import TimeLimit

if TYPE_CHECKING:  # most runs of a few tests start no PostgreSQL
    from tests.postgres_server import PostgresServer

_EXCUSES = ("this machine", "this kernel")
_MEMORY = "/dev/shm"
# Bytes; a run has a few hundred million there at once.
_ROOM = 4 << 30
# How long files last, in seconds, where that is not about one second for each test.
_SLOW = {
    "test_kill_nodes.py": 130,
    "test_kill.py": 100,
    "test_nodes.py": 60,
    "test_console_chromium.py": 60,
    "test_postgres_faults.py": 50,
    "test_paused_nodes.py": 40,
}
_PACKAGE = Path(__file__).parents[1] / "mailbridge"


def _keep_files_in_memory() -> None:
    """Let `tmp_path` be in memory, where there is room and programs may be run from there."""
    try:
        facts = os.statvfs(_MEMORY)
    except OSError:
        return
    if facts.f_bavail * facts.f_frsize >= _ROOM and not facts.f_flag & os.ST_NOEXEC and os.access(_MEMORY, os.W_OK):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", _MEMORY)


_keep_files_in_memory()

# How long one example takes depends on what else the machine does.
hypothesis.settings.register_profile("mailbridge", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("mailbridge")


def pytest_xdist_auto_num_workers() -> int:
    """Return how many processes `-n auto` means: two more than there are cores, since many tests wait."""
    given = os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS")
    return int(given) if given else len(os.sched_getaffinity(0)) + 2


def pytest_configure(config: pytest.Config) -> None:
    """Compile the package once: tests start hundreds of processes, and not all of them may write what they compile."""
    if not hasattr(config, "workerinput"):
        compileall.compile_dir(_PACKAGE, quiet=2)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without the garbage collector: hardly anything that is loaded is garbage, and it need never look at it again."""
    gc.disable()
    result = yield
    gc.freeze()
    gc.enable()
    return result


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let each process begin with some of the slow files: they last longest, and at the end others wait for them.

    A file stays in one process, since what its tests share (a browser, preloaded processes) would be started in each. An
    end-to-end file counts as one for each database.
    """
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    slow: dict[tuple[Path, str], list[pytest.Item]] = {}
    others: list[pytest.Item] = []
    for item in items:
        if item.path.parent.name == "e2e" or item.path.name in _SLOW:
            slow.setdefault((item.path, _database_of(item)), []).append(item)
        else:
            others.append(item)
    shares: list[list[pytest.Item]] = [[] for _ in range(processes)]
    seconds = [0] * processes
    for (path, _), its in sorted(slow.items(), key=lambda one: _SLOW.get(one[0][0].name, len(one[1])), reverse=True):
        least = seconds.index(min(seconds))
        seconds[least] += _SLOW.get(path.name, len(its))
        shares[least] += its
    # pytest-xdist deals each process as many tests as the others get, in this order.
    size, rest = -(-len(items) // processes), iter(others)
    items[:] = [item for share in shares for item in (*share, *islice(rest, max(0, size - len(share))))]
    items += rest


def _database_of(item: pytest.Item) -> str:
    call = getattr(item, "callspec", None)
    return str(call.params.get("_database", "")) if call else ""


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port of 127.0.0.1 for the one server that the test starts there."""
    with reserved_port() as port:
        yield port


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server for all tests of this process."""
    from tests.postgres_server import running_server

    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_pool(postgres_server: PostgresServer) -> Iterator[Path]:
    """pgbouncer before that server: the directory of its socket, for `postgres_server.pool`."""
    from tests.pgbouncer import running_pool

    with running_pool(postgres_server) as directory:
        yield directory


@pytest.fixture
def preloaded_fork_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The letter readers of the test start their fork server preloaded, which takes a tenth of the time."""
    from tests.preloaded_process import fork_servers

    monkeypatch.setattr("mailbridge.submission.fork_server_process._spawn", fork_servers().start_fork_server)


@pytest.fixture
def time_limit() -> Iterator[TimeLimit]:
    """A time limit that the test ends."""
    limit = TimeLimit()
    with limit.installed():
        yield limit


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    structlog.reset_defaults()  # the first test of a run would start with what importing mailbridge.log sets up
    yield
    structlog.reset_defaults()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if os.environ.get("CI") == "true" and report.skipped and isinstance(report.longrepr, tuple):
        reason = str(report.longrepr[2]).removeprefix("Skipped: ")
        if not reason.startswith(_EXCUSES):
            report.outcome = "failed"
            report.longrepr = f"skipped, which `.ci/run` does not let pass: {reason}"
    return report
