"""Ports of 127.0.0.1 that a test must know before a server listens there."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def reserved_port() -> Iterator[int]:
    """Give a port that the kernel gives to nobody else meanwhile. Connections to it are refused until a server listens there.

    A socket is bound to the port and never listens. Beside it a server may listen that sets SO_REUSEADDR, as most do.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]
