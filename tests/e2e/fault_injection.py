"""The daemon, whose calls to the system fail now and then: `python -c "from tests.e2e.fault_injection import main; main()"`.

FAULTS is a seed. SIGUSR1 begins a round of faults, SIGUSR2 ends it. While it lasts, one call in RATE fails, chosen by the seed:
opening files, sockets, threads, processes, syncs, and statements of the database.
"""

from __future__ import annotations

import asyncio
import builtins
import errno
import io
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import sqlalchemy
from sqlalchemy.engine import Engine

RATE = 12
_OPENING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ENOSPC)
_SOCKETS = (errno.EMFILE, errno.ENOMEM, errno.ENOBUFS)
_SYNCS = (errno.EIO, errno.ENOSPC)
_PROCESSES = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE)


class Faults:
    """Decides which call fails; `counts` says how often each kind has."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.on = False

    def due(self, kind: str) -> bool:
        """Return whether this call fails."""
        if not self.on or self._random.randrange(RATE):
            return False
        self.counts[kind] += 1
        return True

    def check(self, kind: str, numbers: tuple[int, ...]) -> None:
        """Raise OSError if this call fails."""
        if self.due(kind):
            number = self._random.choice(numbers)
            raise OSError(number, os.strerror(number))


def _wrapped(faults: Faults, kind: str, numbers: tuple[int, ...], real: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        faults.check(kind, numbers)
        return real(*args, **kwargs)

    return call


def install(faults: Faults) -> None:
    """Put the faults between the daemon and the system."""
    for module, name in ((builtins, "open"), (io, "open"), (os, "open")):
        setattr(module, name, _wrapped(faults, "open", _OPENING, getattr(module, name)))
    os.memfd_create = _wrapped(faults, "memfd_create", _OPENING, os.memfd_create)
    for name in ("fsync", "fdatasync", "pwritev", "ftruncate", "rename", "replace", "link", "unlink"):
        setattr(os, name, _wrapped(faults, name, _SYNCS, getattr(os, name)))
    plain = socket.socket.__init__

    def create(self: socket.socket, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> None:
        if fileno is None:
            faults.check("socket", _SOCKETS)
        plain(self, family, type, proto, fileno)

    socket.socket.__init__ = create  # type: ignore[method-assign]
    socket.socket.accept = _wrapped(faults, "accept", _SOCKETS, socket.socket.accept)  # type: ignore[method-assign]
    socket.socketpair = _wrapped(faults, "socketpair", _SOCKETS, socket.socketpair)
    subprocess._fork_exec = _wrapped(faults, "fork", _PROCESSES, subprocess._fork_exec)  # type: ignore[attr-defined]
    start = threading.Thread.start

    def start_thread(self: threading.Thread) -> None:
        if faults.due("thread"):
            raise RuntimeError("can't start new thread")
        start(self)

    threading.Thread.start = start_thread  # type: ignore[method-assign]

    @sqlalchemy.event.listens_for(Engine, "before_cursor_execute")
    def execute(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if faults.due("statement"):
            raise sqlalchemy.exc.OperationalError(statement, parameters, OSError("disk I/O error"))


def main() -> None:
    """Run the mailbridge command with faults."""
    from mailbridge.cli import main as run

    faults = Faults(int(os.environ["FAULTS"]))
    install(faults)

    def begin(*_: object) -> None:
        faults.on = True

    def end(*_: object) -> None:
        faults.on = False
        print("faults:", dict(faults.counts), file=sys.stderr, flush=True)

    signal.signal(signal.SIGUSR1, begin)
    signal.signal(signal.SIGUSR2, end)
    assert asyncio  # loaded before the faults
    run()
