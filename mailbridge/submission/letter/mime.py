"""Split a spooled mail into its parts: each is a stretch of the file, and a large mail is never copied (RFC 2045, 2046).

A tree of parts is walked with a list, never by recursion. Limits: 20 levels, 100 parts, 100 KB of headers in any part. Only a
forwarded mail that is itself encoded in base64 is decoded into memory, as another source of parts.
"""

from __future__ import annotations

import contextlib
import io
import mmap
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mailbridge.errors import Refused
from mailbridge.store.transfer_encoding import decoder
from mailbridge.submission.letter.file_name import safe_name
from mailbridge.submission.letter.mime_headers import Headers, read_headers
from mailbridge.submission.letter.mime_parameters import parameter, value_of
from mailbridge.submission.letter.mime_part import Part, content_type_of, filename_of, part_of, transfer_encoding

MAX_DEPTH = 20
MAX_PARTS = 100
MAX_DECODED = 64_000_000  # bytes of forwarded mails that are themselves encoded, together
CHUNK = 64 * 1024
_SMALL_MAIL = 1 << 20  # bytes of a mail that is read as a whole, which is quicker than to map it

_GUESSED_BOUNDARY = re.compile(rb"--([!-~]{1,70})[ \t]*\r?\n[!-9;-~]{1,100}:")
_MAIL_TYPES = ("message/rfc822", "message/global", "message/news")
# Bytes of a body in which a boundary that no header names is looked for.
_PREAMBLE = 4096

Source = mmap.mmap | bytes


class _Stretch(NamedTuple):
    """A part that is still to be read."""

    source: int
    start: int
    end: int
    depth: int = 0
    default_type: str = "text/plain"
    mail: int = 0
    is_mail: bool = False
    alternatives: tuple[tuple[int, int], ...] = ()
    alternative: bool = False
    related: bool = False


class Mail:
    """A spooled mail, open for reading: its parts, their decoded content, and the headers of it and of each forwarded mail."""

    def __init__(self, data: Source, descriptor: int) -> None:
        if not data:
            raise Refused("554 5.6.0 The mail is empty; send it again")
        self._descriptor = descriptor
        splitter = _Splitter(data)
        self.parts = splitter.split()
        self.all_headers = splitter.all_headers
        self._sources = splitter.sources

    @property
    def headers(self) -> Headers:
        """The headers of the mail itself."""
        return self.all_headers[0]

    def chunks(self, part: Part) -> Iterator[bytes]:
        """Yield a part's decoded content piece by piece, exactly as the spool will read the document later."""
        decoding = decoder(part.encoding)
        end = part.offset + part.length
        for start in range(part.offset, end, CHUNK):
            size = min(CHUNK, end - start)
            yield decoding.decode(self._read(part.source, start, size), start + CHUNK >= end)

    def _read(self, source: int, start: int, size: int) -> bytes:
        data = self._sources[source]
        return data[start : start + size] if isinstance(data, bytes) else os.pread(self._descriptor, size, start)

    def content(self, part: Part, limit: int) -> bytes:
        """Return a part's decoded content. Raises Refused beyond `limit` bytes."""
        content = io.BytesIO()
        for piece in self.chunks(part):
            content.write(piece)
            if content.tell() > limit:
                what = f"The file {safe_name(part.filename, '')}" if part.filename else "One part of the mail"
                raise Refused(f"554 5.6.1 {what} is larger than {limit // 1_000_000} MB; send it in smaller pieces")
        # Unlike a bytearray, it hands its buffer over without a second copy.
        return content.getvalue()


@contextlib.contextmanager
def open_mail(mail: Path | int | bytes) -> Iterator[Mail]:
    """Open and split a mail, given as a path, as a descriptor, which stays open, or as its content.

    Raises Refused with 554 5.6.0 for a mail beyond the limits, or without a structure.
    """
    if isinstance(mail, bytes):
        yield Mail(mail, -1)
        return
    with contextlib.ExitStack() as stack:
        if isinstance(mail, int):
            descriptor = mail
        else:
            descriptor = os.open(mail, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
        size = os.lseek(descriptor, 0, os.SEEK_END)
        if size <= _SMALL_MAIL:
            yield Mail(os.pread(descriptor, size, 0), descriptor)
        else:
            yield Mail(stack.enter_context(mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)), descriptor)


class _Splitter:
    """Walks the tree of one mail."""

    def __init__(self, data: Source) -> None:
        self.sources: list[Source] = [data]
        self.all_headers: list[Headers] = []
        self._data = data
        self._decoded = self._alternatives = 0

    def split(self) -> list[Part]:
        """Return the leaves of the mail, in order. Raises Refused."""
        parts: list[Part] = []
        waiting = [_Stretch(0, 0, len(self._data), is_mail=True)]
        seen = 0
        while waiting:
            stretch = waiting.pop()
            seen += 1
            if stretch.depth > MAX_DEPTH:
                raise Refused(f"554 5.6.0 The mail is nested deeper than {MAX_DEPTH} levels; attach the document itself")
            if seen + len(waiting) > MAX_PARTS:
                raise Refused(f"554 5.6.0 The mail has more than {MAX_PARTS} parts; send its files in several mails")
            source = self.sources[stretch.source]
            headers, body = read_headers(source, stretch.start, stretch.end, stretch.default_type, is_mail=stretch.is_mail)
            if stretch.is_mail:
                stretch = stretch._replace(mail=len(self.all_headers))
                self.all_headers.append(headers)
            content_type, filename = content_type_of(headers), filename_of(headers)
            # Programs attach a mail also as a file.
            is_mail = content_type in _MAIL_TYPES or (filename or "").lower().endswith(".eml")
            inner = [self._forwarded(headers, body, stretch)] if is_mail else self._open(headers, body, stretch)
            if inner is None:
                parts.append(
                    part_of(
                        headers,
                        body,
                        stretch.end,
                        content_type=content_type,
                        filename=filename,
                        default_type=stretch.default_type,
                        source=stretch.source,
                        mail=stretch.mail,
                        alternatives=stretch.alternatives,
                        alternative=stretch.alternative,
                        related=stretch.related,
                    )
                )
            else:
                waiting.extend(reversed(inner))
        # What was read while searching need not stay in memory; a document is read again from the page cache.
        if isinstance(self._data, mmap.mmap):
            self._data.madvise(mmap.MADV_DONTNEED)
        if not any(name in self.all_headers[0] for name in ("From", "Subject", "Content-Type")):
            raise Refused("554 5.6.0 The mail has no header with From, Subject or Content-Type; send it from a mail program")
        return parts

    def _open(self, headers: Headers, body: int, stretch: _Stretch) -> list[_Stretch] | None:
        """Return the parts inside of a multipart, None for a leaf."""
        fields = [field for field in headers.get_all("Content-Type") if value_of(field).startswith("multipart/")]
        if not fields:
            return None
        if transfer_encoding(headers, "multipart") != "identity":
            raise Refused(
                "554 5.6.0 The mail's parts are encoded as a whole, against the rules of mail; send it from another program"
            )
        kind = value_of(fields[0])
        inside = stretch._replace(
            depth=stretch.depth + 1,
            default_type="message/rfc822" if kind == "multipart/digest" else "text/plain",
            is_mail=False,
            alternative=kind == "multipart/alternative",
            related=kind == "multipart/related",
        )
        source = self.sources[stretch.source]
        if not source[body : min(stretch.end, body + _PREAMBLE)].strip() and stretch.end - body <= _PREAMBLE:
            return []
        for boundary in _boundaries(fields, source, body, stretch.end):
            if found := _between(source, body, stretch.end, boundary):
                return list(self._inside(inside, found))
        raise Refused("554 5.6.0 The mail's parts cannot be separated: its boundary is missing; send it from another program")

    def _inside(self, inside: _Stretch, found: list[tuple[int, int]]) -> Iterator[_Stretch]:
        group = self._alternatives
        self._alternatives += inside.alternative
        for branch, (start, end) in enumerate(found):
            alternatives = (*inside.alternatives, (group, branch)) if inside.alternative else inside.alternatives
            yield inside._replace(start=start, end=end, alternatives=alternatives)

    def _forwarded(self, headers: Headers, body: int, stretch: _Stretch) -> _Stretch:
        """Return a forwarded mail; one that is encoded, against RFC 2046 section 5.2.1, becomes a source of its own."""
        inside = stretch._replace(
            depth=stretch.depth + 1, default_type="text/plain", is_mail=True, alternative=False, related=False
        )
        encoding = transfer_encoding(headers, "message")
        if encoding == "identity":
            return inside._replace(start=body)
        if self._decoded + stretch.end - body > MAX_DECODED:
            raise Refused(f"554 5.6.0 The forwarded mail is larger than {MAX_DECODED // 1_000_000} MB; attach its files instead")
        content = decoder(encoding).decode(self.sources[stretch.source][body : stretch.end], True)
        self._decoded += len(content)
        self.sources.append(content)
        return inside._replace(source=len(self.sources) - 1, start=0, end=len(content))


def _boundaries(fields: list[str], source: Source, start: int, end: int) -> Iterator[bytes]:
    """Yield what may be the boundary: as each Content-Type declares it, without blanks of a bad folding, as the body begins."""
    for field in fields:
        declared = (parameter(field, "boundary") or "").rstrip()
        for boundary in dict.fromkeys((declared, "".join(declared.split()))):
            if boundary:
                yield boundary.encode("utf-8", "replace")
    if found := _GUESSED_BOUNDARY.search(source[start : min(end, start + _PREAMBLE)]):
        yield found[1]


def _between(source: Source, start: int, end: int, boundary: bytes) -> list[tuple[int, int]]:
    """Return the stretches between the boundary's lines (RFC 2046 section 5.1.1); one without an end reaches to `end`."""
    found: list[tuple[int, int]] = []
    mark = b"--" + boundary
    begun, position = -1, start
    while (at := source.find(mark, position, end)) >= 0:
        position = at + len(mark)
        if at > start and source[at - 1 : at] != b"\n":
            continue
        newline = source.find(b"\n", position, min(end, position + 1000))
        after = end if newline < 0 else newline + 1
        tail = source[position:after].rstrip(b"\r\n \t") if after - position <= 1001 else b"x"
        # A longer boundary may begin with this one, also with two hyphens behind it.
        if tail not in (b"", b"--"):
            continue
        if begun >= 0:
            found.append((begun, max(begun, _before_newline(source, at, start))))
        if len(found) > MAX_PARTS:
            return found
        # Parts behind the end are taken too: an inner multipart may have had the same boundary.
        begun, position = (-1 if tail else after), after
    if begun >= 0:
        found.append((begun, end))
    return found


def _before_newline(source: Source, at: int, start: int) -> int:
    """The line break before a boundary belongs to the boundary."""
    at -= at > start and source[at - 1 : at] == b"\n"
    return at - (at > start and source[at - 1 : at] == b"\r")
