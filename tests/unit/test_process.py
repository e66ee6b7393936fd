"""Signals while the daemon fails to start with a new configuration."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mailbridge import log, process
from mailbridge.config import Config
from tests.wait_helpers import PATIENCE

CONFIG = """
[account.office]
email = "office@example.co.il"
password = "secret"
"""


@pytest.mark.parametrize(("number", "languages"), [(signal.SIGTERM, ["he", "he"]), (signal.SIGHUP, ["he", "he", "en"])])
def test_signal_during_a_failed_start_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, languages: list[str]
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(CONFIG, encoding="utf-8")
    started: list[str] = []

    class Daemon:
        def __init__(self, config: Config, *_: Any, **__: Any) -> None:
            self.smtp, self.http = [("127.0.0.1", 1)], ("127.0.0.1", 2)
            started.append(config.language)

        async def run(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
            if len(started) == 2:
                path.write_text('language = "en"' + CONFIG, encoding="utf-8")
                os.kill(os.getpid(), number)
                await stop.wait()
                raise OSError("the port is taken")
            ready()
            os.kill(os.getpid(), signal.SIGHUP if len(started) == 1 else signal.SIGTERM)
            await stop.wait()

    monkeypatch.setattr(process, "Daemon", Daemon)
    monkeypatch.setattr(log, "setup", lambda *_: None)
    asyncio.run(asyncio.wait_for(process.serve(path, {}), PATIENCE))
    assert started == languages
