"""The real daemon, `mailbridge serve`, with its own configuration in a temporary directory."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

TIMEOUT = 30.0
_CONFIG = """
state_dir = "{state}"
[smtp]
listen = ["127.0.0.1:0"]
[log]
format = "json"
[account.office]
email = "office@example.co.il"
password = "demo"
"""
_HTTP = """
[http]
listen = "127.0.0.1:0"
"""


@asynccontextmanager
async def daemon(more: str, until: str = "daemon started") -> AsyncIterator[int]:
    """Start a daemon with `more` configuration; yield its SMTP port once it has logged `until`."""
    async with daemon_facts(more, until) as started:
        yield int(started["smtp"].rpartition(":")[2])


@asynccontextmanager
async def daemon_facts(more: str, until: str = "daemon started", http: str = _HTTP) -> AsyncIterator[dict[str, Any]]:
    """Start a daemon with `more` configuration, and `http` in place of its [http].

    Yield the facts of its line `daemon started` once it has logged `until`.
    """
    with tempfile.TemporaryDirectory(prefix="mailbridge-bench-") as directory, (Path(directory) / "log").open("xb") as errors:
        root = Path(directory)
        (root / "state").mkdir()
        config = root / "config.toml"
        config.write_text(_CONFIG.format(state=root / "state") + http + more, encoding="utf-8")
        command = [sys.executable, "-m", "mailbridge", "serve", "--config", str(config)]
        process = await asyncio.create_subprocess_exec(*command, stderr=errors, env=os.environ)
        try:
            started, _ = await _logged(process, root / "log", "daemon started"), await _logged(process, root / "log", until)
            yield started
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            await process.wait()


async def _logged(process: asyncio.subprocess.Process, log: Path, event: str) -> dict[str, Any]:
    """Wait for the log line of this event, and return it."""
    async with asyncio.timeout(TIMEOUT):
        while True:
            for line in log.read_bytes().splitlines(keepends=True):
                if line.startswith(b"{") and line.endswith(b"}\n") and (facts := json.loads(line)).get("event") == event:
                    return dict(facts)
            if process.returncode is not None:
                raise RuntimeError(f"the daemon did not start:\n{log.read_text()[-2000:]}")
            await asyncio.sleep(0.01)


class Arrivals:
    """The times at which named things arrived."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}
        self._changed = asyncio.Condition()

    def note(self, name: str, at: float | None = None) -> None:
        """Note an arrival, now or at a time of `time.perf_counter`; only the first of each name counts."""
        self._at.setdefault(name, time.perf_counter() if at is None else at)
        self._waker = asyncio.ensure_future(self._wake())

    async def of(self, name: str) -> float:
        """Return the time of an arrival; wait for it if necessary. Raises TimeoutError after TIMEOUT seconds."""
        async with asyncio.timeout(TIMEOUT), self._changed:
            await self._changed.wait_for(lambda: name in self._at)
        return self._at[name]

    async def _wake(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def spread(seconds: Sequence[float]) -> dict[str, Any]:
    """Return statistics of latencies, in milliseconds."""
    ordered = sorted(1000 * value for value in seconds)

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)

    return {"n": len(ordered), "p50_ms": at(0.5), "p95_ms": at(0.95), "least_ms": at(0.0), "most_ms": at(1.0)}
