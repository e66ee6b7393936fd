"""The protocols between systemd and a service, without a library: sd_notify(3) and sd_listen_fds(3)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Mapping

# SD_LISTEN_FDS_START: the first descriptor that systemd passes.
_FIRST_PASSED = 3
# Seconds that a full notification socket may block the event loop.
_TIMEOUT = 1.0


def notify(state: str, environ: Mapping[str, str]) -> None:
    """Send `READY=1`, `STOPPING=1` or `WATCHDOG=1` to systemd; do nothing without NOTIFY_SOCKET.

    A failure to send is ignored, because systemd itself acts on a missing notification.
    """
    address = environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.settimeout(_TIMEOUT)
        channel.connect("\0" + address[1:] if address.startswith("@") else address)
        channel.sendall(state.encode())


async def watchdog(environ: Mapping[str, str]) -> None:
    """Notify systemd twice per WATCHDOG_USEC that the event loop runs. Return if systemd does not watch this process."""
    usec = environ.get("WATCHDOG_USEC")
    if not usec or environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return
    while True:
        notify("WATCHDOG=1", environ)
        await asyncio.sleep(int(usec) / 1_000_000 / 2)


def passed_sockets(environ: Mapping[str, str]) -> list[socket.socket]:
    """Return the listening sockets that a `.socket` unit passed to this process, an empty list if there are none."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(environ.get("LISTEN_FDS", "0"))
    passed = [socket.socket(fileno=descriptor) for descriptor in range(_FIRST_PASSED, _FIRST_PASSED + count)]
    for listener in passed:
        listener.set_inheritable(False)
    return passed
