"""The byte stream of DATA on its way to the spool: where it ends, what its dots mean, and that none of it waits in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_END = b"\r\n.\r\n"
# A search for one byte is many times quicker than one for three, as long as it finds little.
_FEW_DOTS = 40
# The lines of a mail's headers and of its last boundary differ in length; those of base64 between them do not.
_HEAD, _TAIL = 4096, 1024


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
        while (found := _find_line_dot(buffer, start)) >= 0:
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


def _find_line_dot(buffer: bytes, start: int) -> int:
    """Return what `buffer.find(b"\\r\\n.", start)` does; quicker where there are few dots."""
    after = start + 2
    for _ in range(_FEW_DOTS):
        dot = buffer.find(b".", after)
        if dot < 0 or buffer[dot - 2 : dot] == b"\r\n":
            return dot - 2 if dot >= 0 else dot
        after = dot + 1
    return buffer.find(b"\r\n.", after - 2)


def _with_whole_line_ends(content: bytes) -> bytes:
    breaks = content.count(b"\n")
    if breaks == content.count(b"\r") and breaks == _count_pairs(content):
        return content
    return content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


def _count_pairs(content: bytes) -> int:
    """Count CR LF; where lines are of one length, by looking at their ends alone."""
    start = content.find(b"\n", _HEAD) + 1
    end = content.rfind(b"\n", start, -_TAIL) + 1
    length = content.find(b"\n", start) + 1 - start
    if start and end > start and length > 1 and (end - start) % length == 0:
        lines = (end - start) // length
        ends = content[start + length - 2 : end : length], content[start + length - 1 : end : length]
        if ends == (b"\r" * lines, b"\n" * lines):
            return content.count(b"\r\n", 0, start) + lines + content.count(b"\r\n", end)
    return content.count(b"\r\n")


class DataReader:
    """Takes one mail's data piece by piece as the transport brings it; nothing waits, so that many clients cost no more than one.

    `keep(content, size, whole)` is called with each decoded piece, the size of all so far and whether it was the last; what it
    raises ends the mail at once.
    """

    def __init__(self, keep: Callable[[bytes, int, bool], None]) -> None:
        self._keep, self._decoder = keep, DotDecoder()
        self._ended = asyncio.Event()
        self._error: Exception | None = None
        self._rest = b""

    def put(self, chunk: bytes) -> None:
        """Take what arrived. What comes after the end of data is kept, for `end` to return."""
        if self._ended.is_set():
            self._rest += chunk
            return
        try:
            content, rest = self._decoder.feed(chunk)
            self._keep(content, self._decoder.size, rest is not None)
        except Exception as error:
            self._error, rest = error, b""
        if rest is not None:
            self._rest = rest
            self._ended.set()

    async def end(self) -> bytes:
        """Wait for the end of data; return what came after it. Raises what `keep` raised."""
        await self._ended.wait()
        if self._error is not None:
            raise self._error
        return self._rest
