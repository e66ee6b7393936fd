"""The commands of docs/administration.md do what the page says."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from pathlib import Path

import pytest

from mailbridge.demo.mailbox import DemoMailbox
from mailbridge.demo.simulator import Simulator
from tests.integration.cli_fixtures import run_beside, serving
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


def test_the_configuration_against_the_simulator_sends_a_fax(tmp_path: Path) -> None:
    found = re.search(r"<!-- try -->\n```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None

    async def main() -> None:
        async with DemoMailbox() as mailbox:
            simulator = Simulator(step=0.05)
            url = await simulator.start()
            text = found[1].replace("http://127.0.0.1:8080/action/", url).replace("port = 1143", f"port = {mailbox.port}")
            (tmp_path / "config.toml").write_text(
                text.replace('"state"', f'"{tmp_path}/state"')
                + '\n[smtp]\nlisten = ["127.0.0.1:0"]\n[http]\nlisten = "127.0.0.1:0"\n'
            )
            (tmp_path / "a.txt").write_text("a letter\n")
            with serving(tmp_path / "config.toml"):
                words = ("send", "03-9876543", tmp_path / "a.txt", "--config", tmp_path / "config.toml", "--wait")
                done = await run_beside(*words)
            assert (done.status, done.errors) == (0, ""), done
            assert len(simulator.uploads) == 1
            await simulator.stop()

    asyncio.run(main())
