"""Starts daemons in a third of the time: a process that has loaded what a daemon loads, and forks one at each request.

What the fork runs is the program that `python -m mailbridge` runs; it is a process of its own, with its own signals, files and
end. That the command itself starts is tested by those daemons that need a wrapper or variables of their own, by
`tests/integration/test_systemd.py` and by `test_cli_serve.py`.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

_PACKET = 100_000  # bytes


class PreloadedDaemon:
    """One daemon, with what `asyncio.subprocess.Process` has for it. `status` gets its process id, and then its exit status."""

    def __init__(self, pid: int, status: socket.socket) -> None:
        self.pid, self._status = pid, status
        self._returncode: int | None = None

    @property
    def returncode(self) -> int | None:
        """The exit status, negative after a signal; None while the daemon runs."""
        if self._returncode is None:
            try:
                self._returncode = int(self._status.recv(16))
                self._status.close()
            except BlockingIOError:
                pass
        return self._returncode

    async def wait(self) -> int:
        """Return the exit status once the daemon has ended."""
        while (status := self.returncode) is None:
            await asyncio.sleep(0.002)
        return status

    def send_signal(self, number: int) -> None:
        """Send the daemon a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)


class _Preloaded:
    """The process that forks daemons, started by Python with `options`. It ends with the tests."""

    def __init__(self, options: Sequence[str]) -> None:
        self._requests, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            command = [sys.executable, *options, "-m", "tests.e2e.preloaded_daemon"]
            self._process = subprocess.Popen(command, stdin=its.fileno(), env={"PATH": os.environ["PATH"]})
        atexit.register(self._end)

    async def start(self, program: str, arguments: Sequence[str], env: Mapping[str, str], errors: int) -> PreloadedDaemon:
        """Start a daemon whose standard error is the descriptor `errors`."""
        status, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        status.setblocking(False)
        with its:
            request = {"program": program, "arguments": list(arguments), "env": dict(env)}
            socket.send_fds(self._requests, [json.dumps(request).encode()], [errors, its.fileno()])
        return PreloadedDaemon(int(await asyncio.get_running_loop().sock_recv(status, 16)), status)

    def _end(self) -> None:
        self._requests.close()
        self._process.wait()


@cache
def preloaded(*options: str) -> _Preloaded:
    """Return the process that forks daemons as Python with these options would start them."""
    return _Preloaded(options)


class _Running:
    """The daemons that run: the exit status of each is sent to those who wait for it."""

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
                with self._statuses.pop(pid) as waiting:
                    waiting.send(str(os.waitstatus_to_exitcode(status)).encode())

    def forget(self) -> None:
        for status in self._statuses.values():
            status.close()


def _fork_daemons(requests: socket.socket) -> dict[str, Any] | None:
    """Fork a daemon at each request. Return the request in the daemon, and None in this process when there are no more."""
    running = _Running()
    signal.signal(signal.SIGCHLD, running.reap)
    while True:
        content, files, _, _ = socket.recv_fds(requests, _PACKET, 2)
        if not content:
            return None
        errors, status = files
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            running.forget()
            os.close(status)
            os.dup2(errors, 2)
            os.close(errors)
            request: dict[str, Any] = json.loads(content)
        else:
            os.close(errors)
            running.add(pid, socket.socket(fileno=status))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        if pid == 0:
            return request


def _load() -> None:
    from mailbridge.preload import load_modules, quick_imports

    with quick_imports():
        import mailbridge.process
        from mailbridge.cli.serve import serve
        from mailbridge.phone.number import load_plans
    assert mailbridge.process
    assert serve
    load_plans()
    load_modules()
    gc.freeze()


def main() -> None:
    """Fork daemons; in a fork, be the daemon."""
    _load()
    requests = socket.socket(fileno=0)
    request = _fork_daemons(requests)
    if request is None:
        requests.close()
        return
    requests.detach()
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.close(nowhere)
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    sys.argv = ["mailbridge", *request["arguments"]]
    exec(request["program"], {"__name__": "__main__"})


if __name__ == "__main__":
    main()
