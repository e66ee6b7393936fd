"""One mail's DATA on its way from the socket into its spool file.

A mail is never collected in memory: each chunk that the socket brings is decoded and written at once, so many large mails cost no
more memory than one small mail. The write happens in the event loop, because a chunk is what one read of a socket brings (at most
256 KB, into the page cache) and a thread would cost more than the write. The rest of a large mail is written by a thread: where
much waits for the disk, the kernel holds each write up by 0.1 s.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Protocol

from mailbridge.errors import Refused, StoreUnavailable
from mailbridge.submission.dot_decoder import DotDecoder
from mailbridge.submission.limits import DataLimits

# Bytes of a mail behind which the rest is written by a thread.
BEHIND = 1 << 20
# Bytes that wait for a write before them: reading goes on meanwhile.
_MOST_UNWRITTEN = 1 << 19
# What is kept of the raw input's end: a client that believes its mail has ended may send a few commands behind it.
_TAIL = 512
_LINE_END = rb"(\r\r\n|\r\n|\r|\n)"
_LONE_DOT = re.compile(_LINE_END + rb"\.(?:" + _LINE_END + rb"|\Z)")
_NAMES = {b"\r\r\n": "CR CR LF", b"\r\n": "CR LF", b"\r": "CR", b"\n": "LF", None: ""}
_END_OF_DATA = "the end of data is CR LF . CR LF"


class _Writable(Protocol):
    def write(self, data: bytes, /) -> None: ...

    def write_behind(self, data: bytes, /) -> asyncio.Future[None] | None: ...


class DataReader:
    """Writes the content of one mail into `file`. `now` gives seconds of a clock that is never set.

    `failure` is why the mail cannot be accepted: it is too large, or the disk did not take it. The data is then still read to its
    end, so that the client gets the reply and can go on in the same session.
    """

    def __init__(self, file: _Writable, limits: DataLimits, now: Callable[[], float]) -> None:
        self._file, self._limits, self._now = file, limits, now
        self._started_at = now()
        self._decoder = DotDecoder()
        self._ended = asyncio.Event()
        self._error: Exception | None = None
        self._rest = b""
        # DATA follows a command's line end.
        self._tail = b"\r\n"
        self.failure: Refused | StoreUnavailable | None = None
        self._writing: asyncio.Future[None] | None = None
        self._unwritten = bytearray()

    @property
    def writing(self) -> asyncio.Future[None] | None:
        """The write under way in a thread, where so much waits behind it that no more should be read before its end."""
        return self._writing if len(self._unwritten) >= _MOST_UNWRITTEN else None

    @property
    def has_ended(self) -> bool:
        """Whether the end of data has come."""
        return self._ended.is_set()

    @property
    def size(self) -> int:
        """The bytes of content so far."""
        return self._decoder.size

    @property
    def seen(self) -> str:
        """What was seen at the end of a mail whose data did not end, for people."""
        lone_dots = _LONE_DOT.findall(self._tail)
        if not lone_dots:
            return f"no end of data after {self.size} bytes; {_END_OF_DATA}"
        before, after = (_NAMES[end or None] for end in lone_dots[-1])
        return f"the data ended in {before} . {after}".rstrip() + f"; {_END_OF_DATA}"

    @property
    def line_ends_changed(self) -> bool:
        """Whether the content had line ends other than CR LF, which were changed."""
        return self._decoder.line_ends_changed

    def put(self, chunk: bytes) -> None:
        """Take a chunk of input. Never raises; what comes after the end of data is returned by `end`."""
        if self._ended.is_set():
            self._rest += chunk
            return
        self._tail = chunk[-_TAIL:] if len(chunk) >= _TAIL else (self._tail + chunk)[-_TAIL:]
        try:
            rest = self._read(chunk)
        except Exception as error:
            self._error, rest = error, b""
        if rest is not None:
            self._rest = rest
            self._ended.set()

    def _read(self, chunk: bytes) -> bytes | None:
        content, rest = self._decoder.feed(chunk)
        size = self._decoder.size
        if self.failure is None and size > self._limits.max_size:
            self.failure = Refused(f"552 5.3.4 The mail is larger than the limit of {self._limits.max_size} bytes")
        if self.failure is None:
            self._write(content, behind=size - len(content) >= BEHIND)
        if rest is None:
            self._limits.check_progress(size, self._now() - self._started_at)
        return rest

    def _write(self, content: bytes, *, behind: bool) -> None:
        if self._writing is not None:
            self._unwritten += content
            return
        try:
            if not behind:
                self._file.write(content)
            elif (writing := self._file.write_behind(content)) is not None:
                self._writing = writing
                writing.add_done_callback(self._written)
        except StoreUnavailable as error:
            self.failure = error

    def _written(self, done: asyncio.Future[None]) -> None:
        self._writing = None
        error = None if done.cancelled() else done.exception()
        content, self._unwritten = bytes(self._unwritten), bytearray()
        if isinstance(error, StoreUnavailable):
            self.failure = error
        elif isinstance(error, Exception):
            self._error = error
        elif content:
            self._write(content, behind=True)

    async def end(self) -> bytes:
        """Wait for the end of data; return the input after it. Raises SessionEnded where a limit ends the session."""
        await self._ended.wait()
        while self._writing is not None:
            await asyncio.wait([self._writing])
        if self._error is not None:
            raise self._error
        return self._rest
