"""A worker as the daemon sees it: its process, and the jobs assigned to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections import deque
from pathlib import Path

import mailbridge
from mailbridge.submission.letter.letter import MAX_DERIVED, Letter
from mailbridge.submission.worker_protocol import (
    HEAD_SIZE,
    MAX_RESPONSE,
    Request,
    Response,
    decode_response,
    encode_request,
    frame_length,
)


class Job:
    """One mail to read, and the promise of its letter."""

    __slots__ = ("frame", "letter", "path")

    def __init__(self, request: Request) -> None:
        self.path = request.path
        self.frame = encode_request(request)
        self.letter: asyncio.Future[Letter] = asyncio.get_running_loop().create_future()

    def finish(self, result: Letter | Exception) -> None:
        """Give the caller its letter, or the error to raise, unless it no longer waits."""
        if self.letter.done():
            return
        if isinstance(result, Exception):
            self.letter.set_exception(result)
        else:
            self.letter.set_result(result)


class WorkerProcess:
    """One worker process and its jobs, of which it reads the first. A process that died is started again by `start`.

    It is a fresh interpreter: a fork of a daemon with threads could inherit a lock that nobody releases.
    """

    def __init__(self) -> None:
        self.jobs: deque[Job] = deque()
        self._assigned = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The process, None while there is none."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start the process, unless it runs, and send it every job again. Raises OSError."""
        if self._runs():
            return
        package = str(Path(mailbridge.__file__).parents[1])
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-B",
            "-m",
            "mailbridge.submission.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,
            limit=MAX_RESPONSE,
        )
        for job in self.jobs:
            self._send(job)

    def assign(self, job: Job) -> None:
        """Add a job. A process that does not run gets it when it starts."""
        self.jobs.append(job)
        self._assigned.set()
        if self._runs():
            self._send(job)

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
        content = await self._frame(MAX_RESPONSE)
        return decode_response(content, await self._frame(MAX_DERIVED))

    async def _frame(self, limit: int) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        read = self._process.stdout.readexactly
        return await read(frame_length(await read(HEAD_SIZE), limit))

    async def kill(self) -> None:
        """Kill the process, and wait until it is gone."""
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        await process.wait()
        # The pipe is read to its end, so that it is closed before the event loop is.
        await process.stdout.read()
        self._process = None

    def _runs(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def _send(self, job: Job) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(job.frame)
