"""The commands of docs/administration.md do what the page says."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.wait_helpers import PATIENCE

PAGE = Path(__file__).parents[2] / "docs" / "administration.md"


def deploy_hook(folder: Path) -> Path:
    """Return the deploy hook, with its own folder for /etc/mailbridge/tls, and with commands that write what they are."""
    found = re.search(r"<!-- deploy hook -->\n```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    script = folder / "hook"
    group = subprocess.run(["id", "-gn"], capture_output=True, text=True, check=True).stdout.strip()
    script.write_text(found[1].replace("/etc/mailbridge/tls", f"{folder}/tls").replace("-g mailbridge", f"-g {group}"))
    script.chmod(0o700)
    for name in ("mailbridge", "systemctl"):
        (folder / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {folder}/called\n')
        (folder / name).chmod(0o700)
    return script


@pytest.mark.parametrize(
    ("domains", "called"),
    [("fax.example.co.il www.example.co.il", "mailbridge check\nsystemctl reload mailbridge\n"), ("www.example.co.il", None)],
)
def test_deploy_hook_copies_a_renewed_certificate_and_reloads(tmp_path: Path, domains: str, called: str | None) -> None:
    script = deploy_hook(tmp_path)
    live = tmp_path / "live"
    live.mkdir()
    for name in ("fullchain.pem", "privkey.pem"):
        (live / name).write_text(name)
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "RENEWED_DOMAINS": domains, "RENEWED_LINEAGE": str(live)}
    subprocess.run([script], env=environ, check=True, timeout=PATIENCE)
    log = tmp_path / "called"
    assert (log.read_text() if log.exists() else None) == called
    copies = sorted((tmp_path / "tls").glob("*")) if called else []
    assert [(path.name, path.read_text(), path.stat().st_mode & 0o777) for path in copies] == (
        [(name, name, 0o640) for name in ("fullchain.pem", "privkey.pem")] if called else []
    )
