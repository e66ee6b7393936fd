"""Forks a process at each request: `python -m tests.process_forker WHAT`. It has loaded what that process needs.

WHAT is `mailbridge`, for the command, or `fork_server`, for the process that forks the daemon's workers. What a fork runs is the
program that Python would run from its start; it is a process of its own, with its own files, signals and end. A request is one
packet on standard input, with the fork's standard input, output and error, and a socket that gets its process id and then
its exit status. This module imports little, because a fork server is to have what it has elsewhere, and no more.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import sys
import time
from typing import Any, Final

_PACKET = 200_000  # bytes
_FILES = 4


class _Running:
    """The processes that run: the exit status of each is sent to those who wait for it."""

    def __init__(self) -> None:
        self._statuses: dict[int, socket.socket] = {}

    def add(self, pid: int, status: socket.socket) -> None:
        status.send(str(pid).encode())
        self._statuses[pid] = status
        self.reap()  # it may have ended already

    def reap(self, *_: object) -> None:
        for pid in list(self._statuses):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                with self._statuses.pop(pid) as waiting, contextlib.suppress(OSError):  # nobody may wait for it any more
                    waiting.send(str(os.waitstatus_to_exitcode(status)).encode())

    def forget(self) -> None:
        for status in self._statuses.values():
            status.close()


def _fork_processes(requests: socket.socket) -> dict[str, Any] | None:
    """Fork a process at each request. Return the request in the fork, and None in this process when there are no more."""
    running = _Running()
    signal.signal(signal.SIGCHLD, running.reap)
    while True:
        content, files, _, _ = socket.recv_fds(requests, _PACKET, _FILES)
        if not content:
            return None
        *standard, status = files
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            running.forget()
            requests.detach()  # descriptor 0, which is replaced
            os.close(status)
            for number, file in enumerate(standard):
                os.dup2(file, number)
                os.close(file)
            request: dict[str, Any] = json.loads(content)
            return request
        for file in standard:
            os.close(file)
        running.add(pid, socket.socket(fileno=status))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


def _load_mailbridge() -> None:
    from importlib import import_module

    from mailbridge.cli import COMMANDS
    from mailbridge.preload import load_modules, quick_imports

    with quick_imports():
        import mailbridge.config
        import mailbridge.process
        from mailbridge.myfax.transport import default_tls
        from mailbridge.phone.number import load_plans

        for module, _ in COMMANDS.values():
            import_module(module.partition(":")[0])
    import tests.preloaded_process

    assert mailbridge.config
    assert mailbridge.process
    assert tests.preloaded_process
    load_plans()
    load_modules()
    default_tls()


def _load_fork_server() -> None:
    import mailbridge.submission.fork_server
    from mailbridge.submission import worker

    assert mailbridge.submission.fork_server
    worker.load()


_LOADS: Final = {"mailbridge": _load_mailbridge, "fork_server": _load_fork_server}


def _be(request: dict[str, Any]) -> None:
    """Be the process of a request, as Python begins one."""
    # They last as long as the process.
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    os.chdir(request["folder"])
    if request["session"]:
        os.setsid()
    sys.argv = ["mailbridge", *request["arguments"]]
    exec(request["program"], {"__name__": "__main__"})


def main() -> None:
    """Fork processes; in a fork, be the process."""
    _LOADS[sys.argv[1]]()
    gc.freeze()
    requests = socket.socket(fileno=0)
    request = _fork_processes(requests)
    if request is None:
        requests.close()
    else:
        _be(request)


if __name__ == "__main__":
    main()
