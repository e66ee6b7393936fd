"""The threads that run before the daemon is ready."""

from __future__ import annotations

import asyncio
import sys
import threading

import pytest

from mailbridge.threads import start_threads, watch_children_without_threads


def test_the_threads_of_the_executor_run_already(monkeypatch: pytest.MonkeyPatch) -> None:
    executor = start_threads()
    try:

        def fail(self: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", fail)
        done = [executor.submit(sum, (number, 1)) for number in range(100)]
        assert [one.result() for one in done] == [number + 1 for number in range(100)]
    finally:
        executor.shutdown()


def test_a_thread_that_cannot_be_started_fails_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[threading.Thread] = []
    plain = threading.Thread.start

    def start(self: threading.Thread) -> None:
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        started.append(self)
        plain(self)

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeError, match="new thread"):
        start_threads()


def test_a_child_is_waited_for_without_a_thread() -> None:
    async def main() -> int | None:
        watch_children_without_threads()
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE)
        assert [thread.name for thread in threading.enumerate() if "waitpid" in thread.name] == []
        await child.communicate(b"\n")
        return child.returncode

    try:
        assert asyncio.run(main()) == 0
    finally:
        if sys.version_info < (3, 12):
            asyncio.set_child_watcher(asyncio.ThreadedChildWatcher())  # as before
