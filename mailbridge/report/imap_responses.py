"""IMAP responses: cut from a server's bytes within limits, and read into values. Pure.

Section numbers are those of RFC 3501; RFC 9051 (IMAP4rev2) keeps every form that is used here.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mailbridge.errors import MailboxError

# A report is a few KB: a FETCH of this many bytes returns all of it, and at least the header of any longer mail.
FIRST_BYTES = 65536
# Mails in one FETCH: five times faster than one by one.
BATCH = 100
# Bytes. A SEARCH response with 500,000 UIDs fits into one line of this length.
MAX_LINE = 4 * 1024 * 1024
# Lines in the responses to one command. Someone may mark a whole mailbox as read, but every line costs time on the event loop.
MAX_LINES = 200_000
# Texts and literals in one response.
MAX_PIECES = 100

_LITERAL = re.compile(rb"\{(\d+)\}$")
_UIDVALIDITY = re.compile(rb"\[UIDVALIDITY (\d{1,10})", re.IGNORECASE)
_UIDNEXT = re.compile(rb"\[UIDNEXT (\d{1,10})", re.IGNORECASE)
_UID = re.compile(rb"\bUID (\d{1,10})\b", re.IGNORECASE)
_SIZE = re.compile(rb"\bRFC822\.SIZE (\d{1,18})\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FetchedMail:
    """One mail, or its beginning. The first value of the pipeline.

    `size` is the whole mail's size in bytes as the server states it: Exchange only estimates it, and 0 means that the server did
    not state it. `fault` says why the rest of the mail is missing, where it cannot be fetched.
    """

    uid: int
    size: int
    content: bytes
    fault: str | None = None

    @property
    def whole(self) -> bool:
        """Whether `content` is the whole mail. A piece of exactly the requested length may continue, whatever `size` says."""
        return len(self.content) != FIRST_BYTES or self.size == FIRST_BYTES


@dataclass(frozen=True, slots=True)
class Folder:
    """A selected folder. `uidnext` is None where the server did not state it."""

    uidvalidity: int
    uidnext: int | None


class ResponseReader:
    """Cuts a server's bytes into responses. Each is a list of its pieces in order: text, literal, text, literal, …, text.

    `max_literal` and `max_bytes` limit one literal and all responses to one command, in bytes. Beyond a limit, `feed` and
    `next_response` raise MailboxError, after which the reader is of no more use.
    """

    def __init__(self, max_literal: int, max_bytes: int) -> None:
        self._max_literal, self._max_bytes = max_literal, max_bytes
        self._buffer, self._pieces = bytearray(), list[bytes]()
        self._literal_size: int | None = None
        self._scanned = 0
        self._bytes, self._lines = 0, 0

    @property
    def has_unread(self) -> bool:
        """Whether bytes wait that are not a complete response yet."""
        return bool(self._buffer or self._pieces)

    def start_command(self) -> None:
        """Count bytes and lines from 0 again, for the responses to the next command."""
        self._bytes, self._lines = 0, 0

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        self._bytes += len(data)
        self._buffer += data
        if self._bytes > self._max_bytes:
            raise MailboxError("the answer has no end")

    def next_response(self) -> list[bytes] | None:
        """Return the next complete response, or None until more bytes come."""
        while True:
            if self._literal_size is not None:
                if not self._read_literal(self._literal_size):
                    return None
            elif (line := self._read_line()) is None:
                return None
            elif self._ends_response(line):
                response, self._pieces = self._pieces, []
                return response

    def _read_literal(self, size: int) -> bool:
        if len(self._buffer) < size:
            return False
        with memoryview(self._buffer) as view:
            self._pieces.append(bytes(view[:size]))
        del self._buffer[:size]
        self._literal_size = None
        return True

    def _read_line(self) -> bytes | None:
        end = self._buffer.find(b"\r\n", self._scanned)
        if end < 0:
            self._scanned = max(0, len(self._buffer) - 1)
            if len(self._buffer) > MAX_LINE:
                raise MailboxError("a line of the answer has no end")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        self._scanned = 0
        self._pieces.append(line)
        self._lines += 1
        if self._lines > MAX_LINES:
            raise MailboxError("the answer has no end")
        return line

    def _ends_response(self, line: bytes) -> bool:
        """Whether no literal follows this line: `{SIZE}` at its end announces one (section 4.3)."""
        literal = _LITERAL.search(line)
        if literal is None:
            return True
        if len(self._pieces) > MAX_PIECES:
            raise MailboxError("a line of the answer has no end")
        if len(literal[1]) > 10 or int(literal[1]) > self._max_literal:
            raise MailboxError(f"the server announced a literal of {literal[1][:20].decode()} bytes")
        self._literal_size = int(literal[1])
        return False


def read_fetch(response: Sequence[bytes]) -> FetchedMail | None:
    """Read `N FETCH (UID … RFC822.SIZE … BODY[] {n}` literal `)` (section 7.4.2).

    None without a literal: some servers send NIL for an expunged mail.
    """
    outside = b" ".join(response[::2])
    uid, size = _UID.search(outside), _SIZE.search(outside)
    if uid is None or len(response) < 2:
        return None
    return FetchedMail(int(uid[1]), int(size[1]) if size else 0, response[1])


def read_folder(lines: Iterable[bytes]) -> Folder | None:
    """Read the response codes UIDVALIDITY and UIDNEXT of SELECT (section 7.1); None without UIDVALIDITY."""
    text = b"\n".join(lines)
    uidvalidity, uidnext = _UIDVALIDITY.search(text), _UIDNEXT.search(text)
    return Folder(int(uidvalidity[1]), int(uidnext[1]) if uidnext else None) if uidvalidity else None


def read_uids(lines: Iterable[bytes]) -> list[int]:
    """Read the UIDs of UID SEARCH (section 7.2.5), in ascending order."""
    return sorted({int(uid) for line in lines for uid in line.split() if uid.isdigit()})


def uid_set(uids: Sequence[int]) -> str:
    """Return UIDs as a sequence-set (section 9)."""
    return f"{uids[0]}:{uids[-1]}" if isinstance(uids, range) else ",".join(map(str, uids))


def modified_utf7(name: str) -> str:
    """Return a folder's name in modified UTF-7 (section 5.1.3)."""

    def shift(match: re.Match[str]) -> str:
        return "&" + base64.b64encode(match[0].encode("utf-16-be")).decode().rstrip("=").replace("/", ",") + "-"

    return re.sub(r"[^\x20-\x7e]+", shift, name.replace("&", "&-"))
