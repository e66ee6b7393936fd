"""Help pages: width, examples, exit codes. Warnings of `check`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from mailbridge.cli import COMMANDS, mailbridge

PAGES = [[], *([name] for name in COMMANDS), ["line", "register"], ["line", "release"]]
RELAY = """
[account.office]
email = "office@example.co.il"
password = "hunter2"
[notice]
relay = "smtp://office:hunter2@mail.example.co.il:587"
"""


@pytest.mark.parametrize("page", PAGES, ids=" ".join)
def test_help_page_is_narrow_and_has_examples_and_exit_codes(page: list[str]) -> None:
    shown = CliRunner().invoke(mailbridge, [*page, "--help"]).output
    assert max(map(len, shown.splitlines())) <= 100
    if page != ["line"]:
        assert "Exit codes: 0" in shown
        assert re.search(rf"^    .*mailbridge {' '.join(page)}", shown, re.MULTILINE) or page == ["migrate"], shown


def test_check_warns_of_a_relay(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(RELAY, encoding="utf-8")
    command = [sys.executable, "-m", "mailbridge", "check", "--config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, f"{path} is valid\n")
    assert done.stderr.startswith("mailbridge: warning: notice.relay: this version sends no notifications yet; ")
    checked = json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=30).stdout)
    assert (checked["ok"], checked["mistakes"], [one["key"] for one in checked["warnings"]]) == (True, [], ["notice.relay"])


def test_serve_prints_every_error_and_exits_78(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(RELAY + '[smtp]\nlisen = []\n[log]\nlevel = "loud"\n', encoding="utf-8")
    command = [sys.executable, "-m", "mailbridge", "serve", "--config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 78
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == ["smtp.lisen", "log.level"]
