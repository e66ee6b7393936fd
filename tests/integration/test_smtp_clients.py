"""Mail by clients that others wrote: curl, swaks and msmtp."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.integration.smtp_fixtures import MAIL, USERS, gateway
from tests.wait_helpers import PATIENCE


def run(command: list[str], **more: Any) -> subprocess.CompletedProcess[bytes]:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    return subprocess.run(command, capture_output=True, timeout=PATIENCE, **more)


def test_mail_by_curl(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx:
        (tmp_path / "mail").write_bytes(MAIL * 2000)
        command = ["curl", "-sv", f"smtp://127.0.0.1:{mx.port}/client.test", "--mail-from", "anna@example.co.il"]
        done = run([*command, "--mail-rcpt", "03-9876543@fax.local", "-T", str(tmp_path / "mail")])
        assert done.returncode == 0, done.stderr
        assert mx.mails()[0] == MAIL * 2000


def test_mail_by_swaks(tmp_path: Path) -> None:
    with gateway(tmp_path, user=USERS) as mx:
        command = ["swaks", "--server", f"127.0.0.1:{mx.port}", "--from", "anna@example.co.il", "--to", "039876543@fax.local"]
        done = run([*command, "--auth", "LOGIN", "--auth-user", "anna", "--auth-password", "secret", "--pipeline"])
        assert done.returncode == 0, done.stdout
        assert b"queued as fax_" in done.stdout
        assert [fax.account for fax in mx.faxes()] == ["second"]


def test_mail_by_msmtp(tmp_path: Path) -> None:
    with gateway(tmp_path) as mx:
        command = ["msmtp", "--host=127.0.0.1", f"--port={mx.port}", "--from=anna@example.co.il", "03-9876543@fax.local"]
        done = run(command, input=MAIL.replace(b"\r\n", b"\n"))
        assert done.returncode == 0, done.stderr
        assert len(mx.faxes()) == 1
