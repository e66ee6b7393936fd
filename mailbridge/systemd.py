"""What systemd and a service say to each other: sd_notify(3) and sd_listen_fds(3), without a library."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Mapping

_FIRST_PASSED = 3
# Seconds that a full channel may hold up the event loop.
_PATIENCE = 1.0


def notify(state: str, environ: Mapping[str, str]) -> None:
    """Tell systemd `READY=1`, `STOPPING=1`, `WATCHDOG=1`; without NOTIFY_SOCKET there is nobody to tell.

    A word that does not arrive is no reason to end: systemd itself acts on what it does not hear.
    """
    address = environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.settimeout(_PATIENCE)
        channel.connect("\0" + address[1:] if address.startswith("@") else address)
        channel.sendall(state.encode())


async def watchdog(environ: Mapping[str, str]) -> None:
    """Tell systemd twice in each WATCHDOG_USEC that the event loop still turns; return at once where it does not ask."""
    usec = environ.get("WATCHDOG_USEC")
    if not usec or environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return
    while True:
        notify("WATCHDOG=1", environ)
        await asyncio.sleep(int(usec) / 1_000_000 / 2)


def passed_sockets(environ: Mapping[str, str]) -> list[socket.socket]:
    """Return the listening sockets that a `.socket` unit handed over, none when they were meant for another process."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(environ.get("LISTEN_FDS", "0"))
    passed = [socket.socket(fileno=descriptor) for descriptor in range(_FIRST_PASSED, _FIRST_PASSED + count)]
    for listener in passed:
        listener.set_inheritable(False)
    return passed
