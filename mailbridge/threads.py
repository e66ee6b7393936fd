"""The threads of the daemon, all of which are started before it is ready."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor


def start_threads(count: int = 0, name: str = "io") -> ThreadPoolExecutor:
    """Return an executor whose threads all run already; 0 are as many as asyncio's own would start. Raises RuntimeError.

    A thread that cannot be started later, for lack of memory, would fail the work that happened to need one more.
    """
    count = count or min(32, (os.cpu_count() or 1) + 4)
    executor, all_run = ThreadPoolExecutor(count, name), threading.Barrier(count + 1)
    try:
        for _ in range(count):
            executor.submit(all_run.wait)
        all_run.wait()
    except BaseException:
        all_run.abort()
        raise
    return executor


def watch_children_without_threads() -> None:
    """Let asyncio wait for worker processes by descriptors (pidfd_open(2), Linux 5.3), as Python does by itself since 3.12."""
    if sys.version_info < (3, 12):
        with contextlib.suppress(OSError, AttributeError):
            os.close(os.pidfd_open(os.getpid()))
            watcher = asyncio.PidfdChildWatcher()
            watcher.attach_loop(asyncio.get_running_loop())
            asyncio.set_child_watcher(watcher)
