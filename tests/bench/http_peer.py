"""A minimal HTTP server that notes when the first byte of each request arrives."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `at` is the arrival of its first byte, in seconds of `time.perf_counter`."""

    at: float
    path: str
    body: bytes


_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n"
Answer = Callable[[Request], bytes]


class _Connection(asyncio.Protocol):
    def __init__(self, answer: Answer) -> None:
        self._answer, self._buffer = answer, bytearray()
        self._at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if not self._buffer:
            self._at = time.perf_counter()
        self._buffer += data
        head, blank, _ = self._buffer[:16384].partition(b"\r\n\r\n")
        if not blank:
            return
        length = next((int(line[15:]) for line in head.split(b"\r\n") if line[:15].lower() == b"content-length:"), 0)
        whole = len(head) + 4 + length
        if len(self._buffer) < whole:
            return
        path = head.split(b" ", 2)[1].decode()
        content = self._answer(Request(self._at, path, bytes(self._buffer[len(head) + 4 : whole])))
        self._buffer.clear()
        self._transport.write(_HEAD % len(content) + content)


@asynccontextmanager
async def listening(answer: Answer) -> AsyncIterator[int]:
    """Answer every request on a free loopback port; yield that port."""
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(answer), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
