"""Starts `mailbridge` in a fraction of the time: a process that has loaded what it needs forks one at each request.

That the command starts without that is tested by the daemons that need a wrapper or variables of Python's own, by
`tests/integration/test_systemd.py`, `test_cli_serve.py` and `test_cli_help.py`. See `process_forker`.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[1]
PROGRAM: Final = "import mailbridge.cli; mailbridge.cli.main()"
# In a daemon: its fork server is forked too, from another process. `connection` is the only descriptor it needs.
_WITH_FORK_SERVER: Final = """
import mailbridge.submission.fork_server_process
import tests.preloaded_process
mailbridge.submission.fork_server_process._spawn = tests.preloaded_process.Forker({requests}).start_fork_server
"""


class PreloadedProcess:
    """One process, with what `asyncio.subprocess.Process` has for it. `status` gets its exit status."""

    def __init__(self, pid: int, status: socket.socket) -> None:
        self.pid, self._status = pid, status
        self._returncode: int | None = None

    @property
    def returncode(self) -> int | None:
        """The exit status, negative after a signal; None while the process runs."""
        if self._returncode is None:
            with contextlib.suppress(BlockingIOError):
                self._returncode = int(self._status.recv(16))
                self._status.close()
        return self._returncode

    async def wait(self) -> int:
        """Return the exit status once the process has ended."""
        while (status := self.returncode) is None:
            with self._status.dup() as waiting:
                await _readable(waiting)
        return status

    def wait_for(self, seconds: float) -> int:
        """Return the exit status once the process has ended. Raises TimeoutError."""
        if self.returncode is None and not select.select([self._status], [], [], seconds)[0]:
            raise TimeoutError(f"process {self.pid} does not end")
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send the process a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process, unless it has ended."""
        self.send_signal(signal.SIGKILL)


@dataclass(frozen=True, kw_only=True)
class Start:
    """What to start: `program` with these arguments and variables. `session` is whether it gets a session of its own."""

    arguments: Sequence[str] = ()
    env: Mapping[str, str]
    program: str = PROGRAM
    session: bool = False


class Forker:
    """The process that forks others, by the socket that has this descriptor."""

    def __init__(self, requests: int) -> None:
        self._requests = requests

    async def start(self, start: Start, standard: Sequence[int | None]) -> PreloadedProcess:
        """Start a process with these descriptors as its standard input, output and error; None is /dev/null."""
        status = self._request(start, standard)
        pid = await asyncio.get_running_loop().sock_recv(status, 16)
        return PreloadedProcess(int(pid), status)

    def start_now(self, start: Start, standard: Sequence[int | None]) -> PreloadedProcess:
        """Start a process, as `start`, and wait here until it is started."""
        status = self._request(start, standard)
        select.select([status], [], [])
        return PreloadedProcess(int(status.recv(16)), status)

    def run(self, start: Start, stdin: bytes | int, seconds: float) -> tuple[int, bytes, bytes]:
        """Run a process whose standard input is a descriptor, or has this content.

        Returns its exit status, output and errors. Raises TimeoutError.
        """
        with ExitStack() as stack:
            given, *written = (stack.enter_context(open(os.memfd_create(name), "w+b")) for name in ("input", "output", "errors"))
            if isinstance(stdin, bytes):
                given.write(stdin)
                given.seek(0)
                stdin = given.fileno()
            process = self.start_now(start, [stdin, *(file.fileno() for file in written)])
            try:
                process.wait_for(seconds)
            finally:
                process.kill()
                process.wait_for(seconds)
            output, errors = (os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0) for file in written)
            assert process.returncode is not None
            return process.returncode, output, errors

    async def start_fork_server(self, connection: socket.socket) -> PreloadedProcess:
        """Start a fork server as `fork_server_process` does, in whose place this is."""
        env = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"}
        start = Start(env=env, program="from mailbridge.submission.fork_server import main; main()", session=True)
        return await self.start(start, [connection.fileno(), None, 2])

    def _request(self, start: Start, standard: Sequence[int | None]) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        content = json.dumps({**asdict(start), "folder": os.getcwd()}).encode()
        with theirs, socket.socket(fileno=os.dup(self._requests)) as requests, open(os.devnull, "r+b") as nowhere:
            files = [nowhere.fileno() if file is None else file for file in standard]
            socket.send_fds(requests, [content], [*files, theirs.fileno()])
        return ours


async def _readable(connection: socket.socket) -> None:
    """Return when there is something to receive, which may be the end."""
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(connection, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(connection)


@cache
def preloaded(*options: str, library: str | None = None) -> Forker:
    """Return the process that forks `mailbridge` as Python with these options would start it, with this LD_PRELOAD (ld.so(8))."""
    env = {"PATH": os.environ["PATH"], **({"LD_PRELOAD": library} if library else {})}
    return Forker(_started([*options, "-m", "tests.process_forker", "mailbridge"], env, _fork_servers()))


def with_fork_server(program: str) -> str:
    """Return a program for `preloaded` that runs the daemon: it also starts its fork server preloaded."""
    return _WITH_FORK_SERVER.format(requests=_fork_servers()) + program


def fork_servers() -> Forker:
    """Return the process that forks fork servers."""
    return Forker(_fork_servers())


@cache
def _fork_servers() -> int:
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "PYTHONPATH": str(_ROOT)}
    return _started(["-P", "-B", "-m", "tests.process_forker", "fork_server"], env)


def _started(words: Sequence[str], env: Mapping[str, str], *passed: int) -> int:
    """Start a process that forks others, which ends with the tests. Return the descriptor for requests to it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, *words]
        process = subprocess.Popen(command, stdin=theirs.fileno(), env=env, cwd=_ROOT, pass_fds=passed)

    def end() -> None:
        process.kill()
        process.wait()
        ours.close()

    atexit.register(end)
    return ours.fileno()
