"""`check` and `serve` with valid and invalid configurations."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mailbridge.cli import main
from tests.integration.cli_fixtures import Done, one_line, run, write_config
from tests.wait_helpers import PATIENCE

BAD = 'lanugage = "he"\n[account.office]\nemail = "x"\n[smtp]\nauth = "off"\nlisten = ["0.0.0.0:25"]\n'
MINIMAL = """
[account.office]
email = "office@example.co.il"
password = "hunter2"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path)


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.toml"
    path.write_text(BAD, encoding="utf-8")
    return path


def test_check_prints_each_error_on_a_line(bad: Path) -> None:
    done = run("check", "--config", bad)
    assert (done.status, done.output) == (78, "")
    lines = done.errors.splitlines()
    assert all(line.startswith("mailbridge: ") and line.count("; ") >= 1 for line in lines)
    for key in ("lanugage", "account.office.email", "account.office.password", "smtp"):
        assert sum(line.startswith(f"mailbridge: {key}: ") for line in lines) == 1, key
    assert len(lines) == 4


def test_check_json(bad: Path) -> None:
    done = run("check", "--json", "--config", bad)
    assert (done.status, done.errors) == (78, "")
    answer = json.loads(done.output)
    assert (answer["ok"], answer["checks"]) == (False, [])
    assert [set(mistake) for mistake in answer["mistakes"]] == [{"key", "fault", "remedy"}] * 4
    assert {"key": "lanugage", "fault": "unknown key", "remedy": "did you mean language?"} in answer["mistakes"]


def test_check_of_a_valid_file(config: Path) -> None:
    assert run("check", "--config", config) == Done(0, f"{config} is valid\n", "")
    done = run("check", "--json", "--config", config)
    assert (done.status, json.loads(done.output)) == (0, {"ok": True, "mistakes": [], "warnings": [], "checks": []})


def test_environment_variable_replaces_the_config_option(config: Path, bad: Path) -> None:
    assert run("check", MAILBRIDGE_CONFIG=str(config)).status == 0
    assert run("check", "--config", bad, MAILBRIDGE_CONFIG=str(config)).status == 78


@pytest.mark.parametrize(
    ("command", "content"),
    [
        *((command, None) for command in ("serve", "check", "queue", "events", "deliveries")),
        *((command, content) for command in ("serve", "queue") for content in (b"[smtp\n", b"\xff\xfe")),
    ],
)
def test_unreadable_configuration_is_exit_78_in_one_line(tmp_path: Path, command: str, content: bytes | None) -> None:
    path = tmp_path / "config.toml"
    if content is not None:
        path.write_bytes(content)
    done = run(command, "--config", path)
    assert done.status == 78
    assert one_line(done).startswith(f"{path}: ")


def test_configuration_without_read_permission_is_exit_78_in_one_line(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def forbidden(*_: object, **__: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    # Tests may run as root, who may read everything.
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    for name in ("read_text", "read_bytes", "open"):
        monkeypatch.setattr(Path, name, forbidden)
    with pytest.raises(SystemExit) as end:
        main(["queue", "--config", str(config)])
    errors = capsys.readouterr().err
    assert (end.value.code, errors.count("\n"), "Permission denied" in errors) == (78, 1, True), errors


def test_serve_rejects_an_invalid_configuration(bad: Path) -> None:
    done = run("serve", "--config", bad)
    assert (done.status, done.output) == (78, "")
    assert "Traceback" not in done.errors
    assert re.search(r"^mailbridge: \S+: .*; ", done.errors)


def test_check_warns_that_nothing_is_mailed_without_a_relay(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(MINIMAL + '[notice]\non = ["delivered"]\n', encoding="utf-8")
    command = [sys.executable, "-m", "mailbridge", "check", "--config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0
    assert done.stderr.startswith("mailbridge: warning: notice.on: nothing is mailed without notice.relay; ")
    checked = json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=PATIENCE).stdout)
    assert (checked["ok"], checked["mistakes"], [one["key"] for one in checked["warnings"]]) == (True, [], ["notice.on"])


def test_serve_prints_every_error_and_exits_78(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(MINIMAL + '[smtp]\nlisen = []\n[log]\nlevel = "loud"\n', encoding="utf-8")
    command = [sys.executable, "-m", "mailbridge", "serve", "--config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 78
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == ["smtp.lisen", "log.level"]
