"""`mailbridge` as a process, its result, and a configuration for it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.wait_helpers import PATIENCE

PASSWORD = "hunter2-office"
WEBHOOK_KEY = base64.b64encode(b"a secret of thirty-two bytes....").decode()
SECRET = f"whsec_{WEBHOOK_KEY}"
MINIMAL = """
state_dir = "{state}"
[account.office]
email = "office@example.co.il"
password = "{password}"
[myfax]
url = "{myfax}"
[smtp]
listen = ["127.0.0.1:{smtp}"]
[http]
listen = "127.0.0.1:{http}"
"""


@dataclass(frozen=True)
class Done:
    """The result of a command."""

    status: int
    output: str
    errors: str


def environment(**more: str) -> dict[str, str]:
    ours = ("MAILBRIDGE_CONFIG", "STATE_DIRECTORY", "RUNTIME_DIRECTORY", "NOTIFY_SOCKET", "LISTEN_FDS", "COLUMNS")
    return {**{name: value for name, value in os.environ.items() if name not in ours}, **more}


def run(*arguments: str | Path, stdin: str = "", **more: str) -> Done:
    """Run `mailbridge` with arguments; `more` is added to its environment."""
    words = [sys.executable, "-m", "mailbridge", *map(str, arguments)]
    done = subprocess.run(words, input=stdin, capture_output=True, encoding="utf-8", timeout=PATIENCE, env=environment(**more))
    return Done(done.returncode, done.stdout, done.stderr)


async def run_beside(*arguments: str | Path) -> Done:
    """Run `mailbridge` while simulators answer in this process."""
    return await asyncio.to_thread(run, *arguments)


def one_line(done: Done) -> str:
    """Return the one line of error, the only output of a failed command."""
    assert done.output == ""
    assert done.errors.startswith("mailbridge: ")
    assert done.errors.count("\n") == 1, done.errors
    assert "Traceback" not in done.errors
    return done.errors.removeprefix("mailbridge: ").rstrip("\n")


def write_config(folder: Path, more: str = "", **values: object) -> Path:
    (folder / "state").mkdir(exist_ok=True)
    path = folder / "config.toml"
    given = {"state": folder / "state", "password": PASSWORD, "myfax": "http://127.0.0.1:1/action/", "smtp": 0, "http": 0}
    path.write_text(MINIMAL.format(**{**given, **values}) + more, encoding="utf-8")
    return path


@contextlib.contextmanager
def serving(config: Path) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-m", "mailbridge", "serve", "--config", str(config)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment())
    try:
        assert process.stderr is not None
        assert any('"daemon started"' in line for line in process.stderr)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)
