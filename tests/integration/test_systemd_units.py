"""The systemd units."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mailbridge.app import GRACE
from tests.wait_helpers import PATIENCE

UNITS = Path(__file__).parents[2] / "systemd"
MAILBRIDGE = Path(sys.executable).with_name("mailbridge")
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=PATIENCE)


def options(name: str, section: str) -> dict[str, list[str]]:
    """Return the options in a section of a unit, each with all its values."""
    found: dict[str, list[str]] = {}
    here = ""
    for line in (UNITS / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            here = line.strip("[]")
        elif here == section and "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


@needs_systemd
@pytest.mark.parametrize("name", ["mailbridge.service", "mailbridge.socket"])
def test_units_pass_systemd_analyze_verify(tmp_path: Path, name: str) -> None:
    for unit in UNITS.glob("mailbridge.s*[et]"):
        # There is no /opt/mailbridge here.
        text = unit.read_text(encoding="utf-8").replace("/opt/mailbridge/bin/mailbridge", str(MAILBRIDGE))
        (tmp_path / unit.name).write_text(text, encoding="utf-8")
    done = analyze("verify", "--man=no", tmp_path / name)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd
def test_service_is_sandboxed() -> None:
    done = analyze("security", "--offline=true", "--no-pager", UNITS / "mailbridge.service")
    level = re.search(r"Overall exposure level for mailbridge.service: ([\d.]+)", done.stdout)
    assert level, done.stderr
    assert float(level[1]) <= 1.5


def test_service_options() -> None:
    service = options("mailbridge.service", "Service")
    assert service["ExecStart"] == ["/opt/mailbridge/bin/mailbridge serve --config /etc/mailbridge/config.toml"]
    assert service["Type"] == ["notify"]
    # Not kill, which cannot say that the file has an error, and which a minimal Debian does not have.
    assert service["ExecReload"] == ["/opt/mailbridge/bin/mailbridge reload --config /etc/mailbridge/config.toml"]
    assert (service["Restart"], service["RestartPreventExitStatus"]) == (["on-failure"], ["78"])
    # The daemon may take 30 s to stop.
    assert float(service["TimeoutStopSec"][0]) > GRACE + 5
    assert service["StateDirectory"] == service["RuntimeDirectory"] == ["mailbridge"]
    assert service["User"] == service["Group"] == ["mailbridge"]


def test_attack_19_service_has_limits_and_no_core_dumps() -> None:
    service = options("mailbridge.service", "Service")
    assert (service["LimitCORE"], service["MemoryMax"], service["OOMPolicy"]) == (["0"], ["3G"], ["continue"])


def test_service_lets_workers_enter_their_sandbox() -> None:
    """systemd 252 has no Landlock in @system-service; seccomp is entered by prctl, which is in it."""
    allowed, denied = options("mailbridge.service", "Service")["SystemCallFilter"]
    assert {"landlock_create_ruleset", "landlock_restrict_self"} <= set(allowed.split())
    assert denied.startswith("~")


def test_restarts_stay_below_the_start_limit() -> None:
    """The limit is for the socket, whose clients would start a service with a bad configuration again and again."""
    unit, service = options("mailbridge.service", "Unit"), options("mailbridge.service", "Service")
    assert float(service["RestartSec"][0]) * int(unit["StartLimitBurst"][0]) > float(unit["StartLimitIntervalSec"][0])


def test_socket_has_the_address_of_the_example() -> None:
    example = (UNITS.parent / "config.example.toml").read_text(encoding="utf-8")
    assert options("mailbridge.socket", "Socket")["ListenStream"] == ["127.0.0.1:2525"]
    assert 'listen = ["127.0.0.1:2525"]' in example


@needs_systemd
def test_sysusers_creates_the_user(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    conf = UNITS / "mailbridge.sysusers.conf"
    done = subprocess.run(
        ["systemd-sysusers", f"--root={tmp_path}", "--replace=/usr/lib/sysusers.d/mailbridge.conf", "-"],
        input=conf.read_text(encoding="utf-8"),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    name, _, _, _, _, home, shell = (tmp_path / "etc/passwd").read_text().strip().split(":")
    assert (name, home) == ("mailbridge", "/var/lib/mailbridge")
    assert shell.endswith("nologin")
