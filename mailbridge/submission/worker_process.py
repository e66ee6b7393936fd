"""A worker as the daemon sees it: its process, and the jobs assigned to it."""

from __future__ import annotations

import array  # noqa: F401  # socket.send_fds imports it when it is called
import asyncio
import contextlib
import errno
import os
import socket
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import mailbridge
from mailbridge.errors import StoreUnavailable
from mailbridge.submission.letter.letter import MAX_DERIVED
from mailbridge.submission.worker_protocol import (
    HEAD_SIZE,
    MAX_RESPONSE,
    READY,
    Request,
    Response,
    decode_response,
    frame_length,
    send_request,
)


class Job:
    """One request of a client, with the files that it needs, and the promise of its response."""

    __slots__ = ("_descriptors", "_paths", "_request", "client", "response")

    def __init__(self, request: Request, paths: Sequence[Path], client: str = "") -> None:
        self._request, self._paths, self.client = request, paths, client
        self._descriptors: list[int] = []
        self.response: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    def open(self) -> None:
        """Open the files, which stay open until the job is finished. Raises StoreUnavailable."""
        if self._descriptors:
            return
        try:
            for path in self._paths:
                self._descriptors.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            self._close()
            raise StoreUnavailable(f"the spool cannot be read: {error.strerror}") from None

    def send(self, connection: socket.socket) -> None:
        """Send the request to a worker. Raises OSError."""
        send_request(connection, self._request, self._descriptors)

    def finish(self, result: Response | Exception) -> None:
        """Give the caller its response, or the error to raise, unless it no longer waits."""
        self._close()
        if self.response.done():
            return
        if isinstance(result, Exception):
            self.response.set_exception(result)
        else:
            self.response.set_result(result)

    def _close(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop())


class WorkerProcess:
    """One worker process and its jobs, of which it reads the first. A process that died is started again by `start`.

    It is a fresh interpreter: a fork of a daemon with threads could inherit a lock that nobody releases.
    """

    def __init__(self) -> None:
        self.jobs: deque[Job] = deque()
        self._unsent: deque[Job] = deque()  # the last ones of `jobs`
        self._assigned = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._connection: socket.socket | None = None

    @property
    def pid(self) -> int | None:
        """The process, None while there is none."""
        return None if self._process is None else self._process.pid

    @property
    def runs(self) -> bool:
        """Whether the process has been started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start the process, unless it runs, wait until it is ready, and send it every job again. Raises OSError."""
        if self.runs:
            return
        await self.kill()
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection.setblocking(False)
        with theirs:
            self._process = await self._spawn(theirs)
        self._unsent = deque(self.jobs)
        self._send_jobs()
        with contextlib.suppress(EOFError):
            if await self._frame(len(READY)) == READY:
                return
        raise ChildProcessError(errno.ECHILD, "it ended at its start")

    async def _spawn(self, connection: socket.socket) -> asyncio.subprocess.Process:
        package = str(Path(mailbridge.__file__).parents[1])
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-B",
            "-m",
            "mailbridge.submission.worker",
            stdin=connection.fileno(),
            stdout=asyncio.subprocess.PIPE,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,
            limit=MAX_RESPONSE,
        )

    def assign(self, job: Job) -> None:
        """Add a job. A process that does not run gets it when it starts. A job whose files cannot be opened is finished."""
        try:
            job.open()
        except StoreUnavailable as error:
            job.finish(error)
            return
        self.jobs.append(job)
        self._assigned.set()
        if self.runs:
            self._unsent.append(job)
            self._send_jobs()

    def remove_jobs(self) -> list[Job]:
        """Return the jobs of a process that was killed, and forget them."""
        jobs = list(self.jobs)
        self.jobs.clear()
        return jobs

    async def first_job(self) -> Job:
        """Return the job that the process works on, once there is one."""
        while not self.jobs:
            self._assigned.clear()
            await self._assigned.wait()
        return self.jobs[0]

    def cancel(self, job: Job) -> None:
        """Kill the process if it works on this job, which nobody waits for any more."""
        if self.jobs and self.jobs[0] is job and self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def response(self) -> Response:
        """Return the response to the first job. Raises EOFError where the process died, ValueError for an invalid response."""
        try:
            content = await self._frame(MAX_RESPONSE)
        except EOFError:
            if self.jobs[0] in self._unsent:
                raise StoreUnavailable("the mail could not be sent to a worker process") from None
            raise
        response = decode_response(content, await self._frame(MAX_DERIVED))
        self._send_jobs()  # there is room now
        return response

    async def _frame(self, limit: int) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        read = self._process.stdout.readexactly
        return await read(frame_length(await read(HEAD_SIZE), limit))

    async def kill(self) -> None:
        """Kill the process, and wait until it is gone."""
        if self._connection is not None:
            self._connection.close()
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        assert process.stdout is not None
        await process.wait()
        # The pipe is read to its end, so that it is closed before the event loop is.
        await process.stdout.read()
        self._process = None

    def _send_jobs(self) -> None:
        """Send the jobs that the process does not have yet, as many as there is room for."""
        assert self._connection is not None
        try:
            while self._unsent:
                self._unsent[0].send(self._connection)
                self._unsent.popleft()
        except BlockingIOError:
            return
        except OSError:
            # The process is gone, or the kernel has no memory or descriptors for it. Without this connection it ends, and the
            # next one gets its other jobs.
            self._connection.close()
