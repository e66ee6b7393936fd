"""What tests/conftest.py holds for every test."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.loopback_ports import reserved_port
from tests.wait_helpers import PATIENCE

ROOT = Path(__file__).parents[1]
SKIPPED = """
import pytest

def test_without_reason():
    pytest.skip("not today")

def test_beyond_this_machine():
    pytest.skip("this machine has no printer")
"""


@pytest.mark.parametrize("processes", ["0", "1"])
@pytest.mark.parametrize(("ci", "counts"), [("true", "1 failed, 1 skipped"), ("", "2 skipped")])
def test_in_ci_a_skipped_test_fails_unless_the_machine_cannot_run_it(
    tmp_path: Path, processes: str, ci: str, counts: str
) -> None:
    (tmp_path / "test_skipped.py").write_text(SKIPPED, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.conftest",
        "-p",
        "no:cacheprovider",
        "-q",
        "-n",
        processes,
        str(tmp_path),
    ]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "CI": ci}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=5 * PATIENCE)
    assert counts in done.stdout.splitlines()[-1], done.stdout


def test_a_reserved_port_is_given_to_nobody_else_and_refuses_until_a_server_listens() -> None:
    with reserved_port() as port:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        for _ in range(2):
            with socket.create_server(("127.0.0.1", port)) as server:
                socket.create_connection(("127.0.0.1", port)).close()
                assert server.getsockname()[1] == port
