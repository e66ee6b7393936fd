"""A time limit of the code under test that ends when the test says so, and not before."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import ClassVar
from unittest.mock import patch


class TimeLimit:
    """Is in force where the code under test is given `SECONDS` and hands them to `asyncio.timeout`. Other limits are real."""

    SECONDS = 4321.0
    current: ClassVar[TimeLimit | None] = None

    def __init__(self) -> None:
        self._in_force: list[asyncio.Timeout] = []

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Take the place of `asyncio.timeout` for these seconds."""
        real = asyncio.timeout

        def timeout(delay: float | None) -> asyncio.Timeout:
            if delay != self.SECONDS:
                return real(delay)
            self._in_force.append(real(None))
            return self._in_force[-1]

        with patch.object(asyncio, "timeout", timeout), patch.object(TimeLimit, "current", self):
            yield

    @property
    def in_force(self) -> bool:
        """Whether it is in force anywhere, or was and was not ended."""
        return bool(self._in_force)

    def end(self) -> None:
        """Let the time be over, wherever the limit is in force."""
        now = asyncio.get_running_loop().time()
        for limit in self._in_force:
            with suppress(RuntimeError):  # what it limited has ended
                limit.reschedule(now)
        self._in_force.clear()
