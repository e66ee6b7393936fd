"""Commands while the daemon starts, stops, or is not there for a moment."""

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
    """A store with a fax, in which another process works until the event is set."""
    begun, let_go = threading.Event(), threading.Event()

    async def work() -> None:
        async with _store(config) as store:
            await store.run(lambda tx: tx.submissions.add(an_envelope(), [a_fax()], None, NOW))
            begun.set()
            await asyncio.to_thread(let_go.wait, 30)

    thread = threading.Thread(target=asyncio.run, args=(work(),))
    thread.start()
    assert begun.wait(30)
    yield let_go
    let_go.set()
    thread.join()


def test_a_command_waits_for_who_works_on_the_state(config: Path, busy: threading.Event) -> None:
    timer = threading.Timer(0.3, busy.set)
    timer.start()
    try:
        assert [fax["state"] for fax in store_query.ask(config, "queue")] == ["queued"]
    finally:
        timer.join()


def test_a_command_does_not_wait_for_ever(config: Path, busy: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_query, "_PATIENCE", 0.3)
    with pytest.raises(ControlError, match="starting or stopping"):
        store_query.ask(config, "queue")


@pytest.mark.parametrize("patience", [60.0, 0.0], ids=["back in time", "gone for good"])
def test_send_waits_on_while_the_daemon_is_started_again(config: Path, monkeypatch: pytest.MonkeyPatch, patience: float) -> None:
    answers: list[Any] = [
        {"state": "submitted", "failure": None},
        ControlError("the daemon hung up; look at its log"),
        {"state": "delivered", "failure": None},
    ]

    def told(*_: object, **__: object) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(send, "ask", told)
    monkeypatch.setattr(send, "_PATIENCE", patience)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    if patience:
        said: list[str] = []
        assert send._follow("fax_X", said.append, config)["state"] == "delivered"
        assert said == ["fax_X submitted", "fax_X delivered"]
    else:
        with pytest.raises(ControlError):
            send._follow("fax_X", lambda _: None, config)
