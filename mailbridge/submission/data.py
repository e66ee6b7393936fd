"""The byte stream of DATA on its way to the spool: where it ends, what its dots mean, and how much of it waits in memory."""

from __future__ import annotations

import asyncio

_END = b"\r\n.\r\n"
# Reading stops above this many waiting bytes, so that a quick client and a slow disk stay within bounds.
_HIGH = 512 * 1024


class DotDecoder:
    """Finds the end of data and takes the stuffing away, however the stream is cut (RFC 5321 section 4.5.2).

    CR LF . CR LF alone ends a mail. A bare CR or LF never does: it becomes CR LF in what is stored, since scripts, old scanners
    and some mail libraries still send bare LF, and what comes after it stays content of the same mail.
    `size` counts the bytes given out.
    """

    __slots__ = ("_begun", "_carry", "size")

    def __init__(self) -> None:
        # As if a line had just ended: a mail may begin with its end, or with a stuffed dot.
        self._carry = b"\r\n"
        self._begun = False
        self.size = 0

    def feed(self, chunk: bytes) -> tuple[bytes, bytes | None]:
        """Return the content decoded from `chunk`, and what came after the end of data, None while it has not come."""
        buffer = self._carry + chunk if self._carry else chunk
        self._carry = b""
        # A search for one byte is many times quicker than one for three, and base64 holds no dot.
        pieces, rest = self._split(buffer) if b"." in buffer else ([self._keep_back(buffer, 0)], None)
        content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if not self._begun and len(content) >= 2:
            content, self._begun = content[2:], True
        content = _with_whole_line_ends(content)
        self.size += len(content)
        return content, rest

    def _split(self, buffer: bytes) -> tuple[list[bytes], bytes | None]:
        pieces: list[bytes] = []
        start = 0
        while (found := buffer.find(b"\r\n.", start)) >= 0:
            after = buffer[found + 3 : found + 5]
            if after == b"\r\n":
                pieces.append(buffer[start : found + 2])
                return pieces, buffer[found + 5 :]
            if after in (b"", b"\r"):
                pieces.append(buffer[start:found])
                self._carry = buffer[found:]
                return pieces, None
            pieces.append(buffer[start : found + 2])
            start = found + 3
        pieces.append(self._keep_back(buffer, start))
        return pieces, None

    def _keep_back(self, buffer: bytes, start: int) -> bytes:
        """Return `buffer` from `start` without what may be the beginning of the end of data; that waits for the next chunk."""
        end = len(buffer)
        for length in (2, 1):
            if end - start >= length and buffer.endswith(_END[:length]):
                end -= length
                break
        self._carry = buffer[end:]
        return buffer[start:end]


def _with_whole_line_ends(content: bytes) -> bytes:
    pairs = content.count(b"\r\n")
    if content.count(b"\n") == pairs == content.count(b"\r"):
        return content
    return content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


class Inflow:
    """Raw chunks between the transport and whoever takes them; stops the transport while too much waits."""

    def __init__(self, transport: asyncio.Transport, early: bytes) -> None:
        self._transport = transport
        self._chunks = [early] if early else []
        self._waiting = len(early)
        self._paused = False
        self._filled = asyncio.Event()
        if early:
            self._filled.set()

    def put(self, chunk: bytes) -> None:
        """Add what arrived."""
        self._chunks.append(chunk)
        self._waiting += len(chunk)
        if self._waiting > _HIGH and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._filled.set()

    async def take(self) -> bytes:
        """Return all that waits, at least one byte."""
        await self._filled.wait()
        return self.drain()

    def drain(self) -> bytes:
        """Return what waits, perhaps nothing, and let the transport go on."""
        self._filled.clear()
        taken = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._waiting = 0
        if self._paused:
            self._paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()
        return taken
