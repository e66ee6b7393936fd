"""Signals that arrive while the daemon starts or reloads."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mailbridge import log, process
from mailbridge.config import Config, load
from mailbridge.errors import ConfigError
from tests.wait_helpers import PATIENCE

CONFIG = """
[account.office]
email = "office@example.co.il"
password = "secret"
"""


def languages(monkeypatch: pytest.MonkeyPatch, path: Path, after: dict[str, Callable[[], None]]) -> list[str]:
    """Run a process whose daemon does `after["start"]` before it is ready, and `after[language]` in each reload."""
    path.write_text(CONFIG, encoding="utf-8")
    seen: list[str] = []

    class Daemon:
        def __init__(self, config: Config, *_: Any, **__: Any) -> None:
            self.smtp, self.http = [("127.0.0.1", 1)], ("127.0.0.1", 2)
            seen.append(config.language)

        async def run(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
            after["start"]()
            ready()
            await stop.wait()

        async def reload(self, config: Config) -> None:
            seen.append(config.language)
            after[config.language]()

    monkeypatch.setattr(process, "Daemon", Daemon)
    monkeypatch.setattr(log, "setup", lambda *_: None)
    monkeypatch.setattr(process, "keep_loaded", lambda: None)  # the tests' own garbage is collected
    asyncio.run(asyncio.wait_for(process.serve(load(path, {}), path, {}), PATIENCE))
    return seen


def test_sighup_during_the_start_reloads_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.toml"

    def start() -> None:
        path.write_text('language = "en"' + CONFIG, encoding="utf-8")
        os.kill(os.getpid(), signal.SIGHUP)

    seen = languages(monkeypatch, path, {"start": start, "en": lambda: os.kill(os.getpid(), signal.SIGTERM)})
    assert seen == ["he", "en"]


@pytest.mark.parametrize("error", [ConfigError("smtp.listen", "the port is taken", "free it"), RuntimeError("unexpected")])
def test_signal_during_a_failed_reload_is_not_lost(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.toml"

    def fail() -> None:
        path.write_text('language = "en"' + CONFIG, encoding="utf-8")
        os.kill(os.getpid(), signal.SIGHUP)
        raise error

    after = {"start": lambda: os.kill(os.getpid(), signal.SIGHUP), "he": fail, "en": lambda: os.kill(os.getpid(), signal.SIGTERM)}
    assert languages(monkeypatch, path, after) == ["he", "he", "en"]
