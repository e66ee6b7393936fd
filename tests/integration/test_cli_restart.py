"""Commands while the daemon starts, stops or restarts."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mailbridge.cli import send, store_query
from mailbridge.errors import ControlError
from mailbridge.store.sqlite import SqliteStore
from tests.factories import NOW, a_fax, an_envelope
from tests.wait_helpers import PATIENCE


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    state = f'state_dir = "{tmp_path}"'
    path.write_text(f'{state}\n[account.office]\nemail = "office@example.co.il"\npassword = "hunter2"\n', encoding="utf-8")
    return path


def _store(config: Path) -> SqliteStore:
    return SqliteStore(config.parent, lambda fax: {"fax_id": fax.id}, lambda type_: [])


@pytest.fixture
def busy(config: Path) -> Iterator[threading.Event]:
    """A store with a fax, which another user keeps locked until the event is set."""
    locked, release = threading.Event(), threading.Event()

    async def work() -> None:
        async with _store(config) as store:
            await store.run(lambda tx: tx.submissions.add(an_envelope(), [a_fax()], None, NOW))
            locked.set()
            await asyncio.to_thread(release.wait, PATIENCE)

    thread = threading.Thread(target=asyncio.run, args=(work(),))
    thread.start()
    assert locked.wait(PATIENCE)
    yield release
    release.set()
    thread.join()


def test_command_waits_for_the_lock(config: Path, busy: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    sleep = time.sleep
    waits: list[float] = []

    def unlock_at_the_second(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            busy.set()
        sleep(0.001)

    monkeypatch.setattr(time, "sleep", unlock_at_the_second)
    monkeypatch.setattr(store_query, "_LOCK_TIMEOUT", PATIENCE)
    assert [fax["state"] for fax in store_query.ask(config, "queue")] == ["queued"]
    assert len(waits) >= 2


def test_command_gives_up_waiting_for_the_lock(config: Path, busy: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_query, "_LOCK_TIMEOUT", 0.02)
    monkeypatch.setattr(store_query, "_LOCK_INTERVAL", 0.01)
    with pytest.raises(ControlError, match="starting or stopping"):
        store_query.ask(config, "queue")


@pytest.mark.parametrize("timeout", [60.0, 0.0], ids=["restarts", "stays down"])
def test_send_waits_during_a_restart(config: Path, monkeypatch: pytest.MonkeyPatch, timeout: float) -> None:
    answers: list[Any] = [
        {"state": "submitted", "failure": None},
        ControlError("the daemon closed the connection; check its log"),
        {"state": "delivered", "failure": None},
    ]

    def ask(*_: object, **__: object) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(send, "ask", ask)
    monkeypatch.setattr(send, "_RESTART_TIMEOUT", timeout)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    if timeout:
        printed: list[str] = []
        assert send._follow("fax_X", printed.append, config)["state"] == "delivered"
        assert printed == ["fax_X submitted", "fax_X delivered"]
    else:
        with pytest.raises(ControlError):
            send._follow("fax_X", lambda _: None, config)
