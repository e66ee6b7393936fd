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

from tests.preloaded_process import PROGRAM, PreloadedProcess, Start, preloaded, with_fork_server
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
    """Run `mailbridge` with arguments, preloaded; `more` is added to its environment."""
    start = Start(arguments=list(map(str, arguments)), env=environment(**more))
    status, output, errors = preloaded().run(start, stdin.encode(), PATIENCE)
    return Done(status, output.decode(), errors.decode())


def run_cold(*arguments: str | Path, stdin: str = "", **more: str) -> Done:
    """Run `mailbridge` as `run`, from the start of Python."""
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
def serving(config: Path) -> Iterator[PreloadedProcess]:
    """Run a daemon, preloaded."""
    start = Start(arguments=["serve", "--config", str(config)], env=environment(), program=with_fork_server(PROGRAM))
    ours, its = os.pipe()
    with open(ours, encoding="utf-8") as log:
        with open(its, "wb"):
            process = preloaded().start_now(start, [None, None, its])
        try:
            assert any('"daemon started"' in line for line in log)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            log.read()
            process.wait_for(PATIENCE)
