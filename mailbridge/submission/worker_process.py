"""A worker as the daemon sees it: its process, and the jobs assigned to it."""

from __future__ import annotations

import array  # noqa: F401  # socket.send_fds imports it when it is called
import asyncio
import contextlib
import errno
import io
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence

from mailbridge.errors import NotFound, StoreUnavailable
from mailbridge.submission.fork_server_process import Forked, ForkServerProcess
from mailbridge.submission.worker_protocol import (
    HEAD_SIZE,
    MAX_RESPONSE,
    READY_SIZE,
    Request,
    Response,
    decode_ready,
    decode_response,
    response_lengths,
    send_request,
)

_KILL_SECONDS = 10.0  # a killed process takes milliseconds to end, or longer on a busy machine


class Job:
    """One request of a client, with the files or the mail that it needs, and the promise of its response.

    Each of `files` opens one.
    """

    __slots__ = ("_descriptors", "_files", "_mail", "_request", "client", "response")

    def __init__(self, request: Request, files: Sequence[Callable[[], int]], client: str = "", mail: bytes = b"") -> None:
        self._request, self._files, self._mail, self.client = request, files, mail, client
        self._descriptors: list[int] = []
        self.response: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    def open(self) -> None:
        """Open the files, which stay open until the job is finished. Raises StoreUnavailable."""
        if self._descriptors:
            return
        try:
            for open_file in self._files:
                self._descriptors.append(open_file())
        except (OSError, NotFound) as error:
            self.close()
            raise StoreUnavailable(f"the spool cannot be read: {getattr(error, 'strerror', error)}") from None

    def send(self, connection: socket.socket) -> None:
        """Send the request to a worker. Raises OSError."""
        send_request(connection, self._request, self._descriptors, self._mail)

    def finish(self, result: Response | Exception) -> None:
        """Give the caller its response, or the error to raise, unless it no longer waits."""
        self.close()
        if self.response.done():
            return
        if isinstance(result, Exception):
            self.response.set_exception(result)
        else:
            self.response.set_result(result)

    @property
    def is_cancelled(self) -> bool:
        """Whether the caller no longer waits."""
        return self.response.cancelled()

    def close(self) -> None:
        """Close the files."""
        while self._descriptors:
            os.close(self._descriptors.pop())


class _Output(asyncio.StreamReader):
    """What a worker writes; `ended` is whether its process has ended, also while there is more to read."""

    ended = False

    def feed_eof(self) -> None:
        self.ended = True
        super().feed_eof()


class WorkerProcess:
    """One worker process and its jobs, of which it reads the first. A process that died is started again by `start`.

    `pid` is the process, None while there is none that is ready.
    """

    def __init__(self, fork_server: ForkServerProcess) -> None:
        self.jobs: deque[Job] = deque()
        self.pid: int | None = None
        self._fork_server = fork_server
        self._unsent: deque[Job] = deque()  # the last ones of `jobs`
        self._assigned = asyncio.Event()
        self._forked: Forked | None = None
        self._output: _Output | None = None
        self._transport: asyncio.ReadTransport | None = None
        self._connection: socket.socket | None = None

    @property
    def runs(self) -> bool:
        """Whether the process has been started and has not ended."""
        return self._forked is not None and self._output is not None and not self._output.ended

    async def start(self) -> None:
        """Start the process, unless it runs, wait until it is ready, and send it every job again. Raises OSError."""
        if self.runs:
            return
        await self.kill()
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection.setblocking(False)
        with theirs:
            await self._fork(theirs)
        self._unsent = deque(self.jobs)
        self._send_jobs()
        with contextlib.suppress(EOFError, ValueError):
            assert self._output is not None
            self.pid = decode_ready(await self._output.readexactly(READY_SIZE))
            return
        raise ChildProcessError(errno.ECHILD, "it ended at its start")

    async def _fork(self, connection: socket.socket) -> None:
        read, write = os.pipe()
        try:
            output = _Output(MAX_RESPONSE)
            protocol = asyncio.StreamReaderProtocol(output)
            pipe = io.FileIO(read)
            self._transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, pipe)
            self._output = output
            self._forked = await self._fork_server.fork(connection.fileno(), write)
        finally:
            os.close(write)

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
        if self.jobs and self.jobs[0] is job and self._forked is not None:
            self._forked.kill()

    async def response(self) -> Response:
        """Return the response to the first job.

        Raises EOFError where the process died, ValueError for an invalid response, and StoreUnavailable where that is not the
        mail's fault.
        """
        assert self._output is not None
        try:
            length, derived_length = response_lengths(await self._output.readexactly(HEAD_SIZE))
            content = await self._output.readexactly(length)
        except EOFError:
            if self.jobs[0] in self._unsent:
                raise StoreUnavailable("the mail could not be sent to a worker process") from None
            if self._forked is not None and not self._forked.has_fork_server:
                raise StoreUnavailable("the worker process ended with its fork server") from None
            raise
        response = decode_response(content, await self._output.readexactly(derived_length) if derived_length else b"")
        self._send_jobs()  # there is room now
        return response

    async def kill(self) -> None:
        """Kill the process, and wait until it is gone."""
        self.pid = None
        if self._connection is not None:
            self._connection.close()
        if self._forked is not None:
            self._forked.kill()
        if self._output is None or self._transport is None:
            return
        try:
            # The pipe is read to its end, which comes when the process is gone.
            async with asyncio.timeout(_KILL_SECONDS):
                await self._output.read()
        except TimeoutError:  # the fork server has stopped, or hangs
            await self._fork_server.stop()
            await self._output.read()
        self._transport.close()
        self._forked = self._output = self._transport = None

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
