"""`serve`: starts that fail, and the state_dir."""

from __future__ import annotations

import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.cli_fixtures import one_line, run, serving, write_config
from tests.wait_helpers import PATIENCE


def test_second_daemon_on_the_same_state_dir_is_refused(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    with serving(config) as first:
        done = run("serve", "--config", config)
        assert done.status == 78
        assert one_line(done) == f"another mailbridge already works on {tmp_path / 'state'}; stop it first"
        assert first.returncode is None
        assert run("queue", "--config", config).output == "no faxes\n"


@pytest.mark.parametrize(("section", "key"), [("smtp", "smtp.listen"), ("http", "http.listen")])
def test_port_in_use_is_one_line(tmp_path: Path, section: str, key: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", "--config", write_config(tmp_path, **{section: port}))
    assert (done.status, done.output) == (78, "")
    # Log lines are JSON; the error is the only other line.
    [error] = [line for line in done.errors.splitlines() if not line.startswith("{")]
    assert error.startswith(f"mailbridge: {key}: ")
    assert f"127.0.0.1:{port}" in error
    assert "; " in error, "a remedy is named"


def test_an_error_in_the_configuration_is_shown_before_the_daemon_is_loaded(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from mailbridge.cli import main\n"
        "try:\n"
        "    main(['serve', '--config', sys.argv[1]])\n"
        "finally:\n"
        "    print({'mailbridge.app', 'sqlalchemy', 'aiosmtpd'} & set(sys.modules))\n"
    )
    config = write_config(tmp_path, more="[numbers]\nregoin = 'IL'\n")
    done = subprocess.run([sys.executable, "-c", program, config], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (78, "set()\n")
    assert "regoin" in done.stderr


def test_state_dir_without_a_parent_is_one_line(tmp_path: Path) -> None:
    config = write_config(tmp_path, state=tmp_path / "gone" / "state")
    done = run("serve", "--config", config)
    assert done.status == 1
    assert one_line(done).startswith(f"state_dir {tmp_path / 'gone' / 'state'} cannot be written")


def test_daemon_creates_its_state_dir_with_mode_700(tmp_path: Path) -> None:
    with serving(write_config(tmp_path, state=tmp_path / "new")):
        assert (tmp_path / "new" / "mailbridge.sqlite3").exists()
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
