"""The fork server as the daemon sees it: a process that forks workers, and is started again when it has ended."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
import sys
from pathlib import Path

import mailbridge
from mailbridge.submission.worker_protocol import Command, send_command


class Forked:
    """A worker process that the fork server at the other end of `connection` has forked, under this number."""

    def __init__(self, connection: socket.socket, number: int) -> None:
        self._connection, self._number = connection, number

    @property
    def has_fork_server(self) -> bool:
        """Whether the fork server runs. If not, the worker has ended with it."""
        return _is_open(self._connection)

    def kill(self) -> None:
        """Kill the worker, soon. It may be dead already."""
        with contextlib.suppress(OSError):
            send_command(self._connection, Command(fork=False, number=self._number))


class ForkServerProcess:
    """The process, which starts with the first worker."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._connection: socket.socket | None = None
        self._starting = asyncio.Lock()
        self._numbers = itertools.count()

    async def fork(self, connection: int, output: int) -> Forked:
        """Let it fork a worker with these descriptors, starting it if needed. Raises OSError.

        The worker, or the lack of it, shows on them.
        """
        async with self._starting:
            if self._connection is None or not _is_open(self._connection):
                self._connection = await self._start()
            command = Command(fork=True, number=next(self._numbers), files=(connection, output))
            send_command(self._connection, command)
            return Forked(self._connection, command.number)

    async def stop(self) -> None:
        """Kill the process, with which its workers end, and wait until it is gone."""
        if self._connection is not None:
            self._connection.close()
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _start(self) -> socket.socket:
        await self.stop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        try:
            with theirs:
                self._process = await _spawn(theirs)
        except BaseException:
            ours.close()
            raise
        return ours


async def _spawn(connection: socket.socket) -> asyncio.subprocess.Process:
    package = str(Path(mailbridge.__file__).parents[1])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-B",
        "-m",
        "mailbridge.submission.fork_server",
        stdin=connection.fileno(),
        stdout=asyncio.subprocess.DEVNULL,
        env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "PYTHONPATH": os.pathsep.join(paths)},
        start_new_session=True,
    )


def _is_open(connection: socket.socket) -> bool:
    """Whether the other end, which sends nothing, is open."""
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return True
    except OSError:
        return False
