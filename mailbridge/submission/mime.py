"""Split a spooled mail into its parts, by mmap: every part is a stretch of the file, and nothing is copied (RFC 2045, 2046).

A tree of parts is walked with a list, never by recursion. Limits: 20 levels, 100 parts, 100 KB of headers in any part.
"""

from __future__ import annotations

import contextlib
import io
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.utils import collapse_rfc2231_value
from pathlib import Path
from typing import Any, NamedTuple

from mailbridge.errors import Refused
from mailbridge.model import EXTERNAL, Encoding
from mailbridge.store.transfer_encoding import decoder

MAX_DEPTH = 20
MAX_PARTS = 100
MAX_HEADERS = 100_000
CHUNK = 64 * 1024
_ENCODINGS: dict[str, Encoding] = {
    "": "identity",
    "7bit": "identity",
    "8bit": "identity",
    "binary": "identity",
    "base64": "base64",
    "quoted-printable": "quoted-printable",
}

Headers = Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A leaf of the mail: where its body lies in the file (bytes), and what its headers say.

    `forwarded` counts the message/rfc822 around it; `filename` is as the sender wrote it, never a path to use. `url` is set for a
    part that only tells where its content is.
    """

    offset: int
    length: int
    encoding: Encoding
    content_type: str
    filename: str | None
    disposition: str | None
    cid: str | None
    charset: str | None
    forwarded: int = 0
    url: str | None = None


class _Stretch(NamedTuple):
    start: int
    end: int
    depth: int
    default_type: str
    forwarded: int


class Mail:
    """A spooled mail, open for reading: its headers, its parts, and their decoded content."""

    def __init__(self, data: mmap.mmap, descriptor: int) -> None:
        self._descriptor = descriptor
        self.headers, self.parts = _split(data)

    def chunks(self, part: Part) -> Iterator[bytes]:
        """Yield a part's decoded content piece by piece, exactly as the spool will read the document later."""
        decoding = decoder(part.encoding)
        end = part.offset + part.length
        for start in range(part.offset, end, CHUNK):
            yield decoding.decode(os.pread(self._descriptor, min(CHUNK, end - start), start), start + CHUNK >= end)

    def content(self, part: Part, limit: int) -> bytes:
        """Return a part's decoded content. Raises Refused beyond `limit` bytes."""
        content = io.BytesIO()
        for piece in self.chunks(part):
            content.write(piece)
            if content.tell() > limit:
                raise Refused(f"554 5.6.1 One part of the mail is larger than {limit // 1_000_000} MB")
        # Unlike a bytearray, it hands its buffer over without a second copy.
        return content.getvalue()


@contextlib.contextmanager
def open_mail(path: Path) -> Iterator[Mail]:
    """Open and split a spooled mail. Raises Refused with 554 5.6.0 for one that is beyond the limits or cannot be told apart."""
    with open(path, "rb") as file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise Refused("554 5.6.0 The mail is empty") from None
        with data:
            yield Mail(data, file.fileno())


def _split(data: mmap.mmap) -> tuple[Headers, list[Part]]:
    top: Headers | None = None
    parts: list[Part] = []
    waiting = [_Stretch(0, len(data), 0, "text/plain", 0)]
    seen = 0
    while waiting:
        stretch = waiting.pop()
        seen += 1
        if stretch.depth > MAX_DEPTH:
            raise Refused(f"554 5.6.0 The mail is nested deeper than {MAX_DEPTH} levels")
        if seen + len(waiting) > MAX_PARTS:
            raise Refused(f"554 5.6.0 The mail has more than {MAX_PARTS} parts")
        headers, body = _read_headers(data, stretch)
        top = headers if top is None else top
        inner = _open_up(data, headers, body, stretch)
        if inner is None:
            parts.append(_leaf(headers, body, stretch))
        else:
            waiting.extend(reversed(inner))
    # What was read while searching need not stay in memory; a document is read again from the page cache.
    data.madvise(mmap.MADV_DONTNEED)
    assert top is not None
    return top, parts


def _read_headers(data: mmap.mmap, stretch: _Stretch) -> tuple[Headers, int]:
    headers: Headers = Message()
    headers.set_default_type(stretch.default_type)
    position, name, value = stretch.start, "", ""
    while position < stretch.end:
        if position - stretch.start > MAX_HEADERS:
            break
        newline = data.find(b"\n", position, min(stretch.end, position + MAX_HEADERS + 1))
        after = newline + 1 if newline >= 0 else min(stretch.end, position + MAX_HEADERS + 1)
        line = data[position:after].rstrip(b"\r\n")
        if line[:1] in (b" ", b"\t") and name and line.strip():
            value += " " + _text(line.strip())
        else:
            _keep(headers, name, value)
            field, colon, rest = line.partition(b":")
            # As the standard library does: an empty line ends the headers, and one that is no header begins the body.
            if not colon or not field.strip() or b" " in field.rstrip() or b"\t" in field.rstrip():
                return headers, after if not line.strip() else position
            name, value = _text(field.strip()), _text(rest.strip())
        position = after
    if position - stretch.start > MAX_HEADERS:
        raise Refused(f"554 5.6.0 The mail has more than {MAX_HEADERS // 1000} KB of headers in one part")
    _keep(headers, name, value)
    return headers, stretch.end


def _keep(headers: Headers, name: str, value: str) -> None:
    if name:
        headers[name] = value


def _text(raw: bytes) -> str:
    """Decode a header line: ASCII and UTF-8 (RFC 6532), else raw Hebrew as old clients send it, else any byte as it is."""
    for charset in ("utf-8", "cp1255"):
        with contextlib.suppress(UnicodeDecodeError):
            return raw.decode(charset)
    return raw.decode("latin-1")


def _open_up(data: mmap.mmap, headers: Headers, body: int, stretch: _Stretch) -> list[_Stretch] | None:
    content_type = headers.get_content_type()
    multipart = content_type.startswith("multipart/")
    if not multipart and content_type != "message/rfc822":
        return None
    if _encoding(headers) != "identity":
        raise Refused("554 5.6.0 A part that holds other parts is itself encoded, against the rules of mail")
    depth = stretch.depth + 1
    if not multipart:
        return [_Stretch(body, stretch.end, depth, "text/plain", stretch.forwarded + 1)]
    default = "message/rfc822" if content_type == "multipart/digest" else "text/plain"
    boundary = collapse_rfc2231_value(headers.get_param("boundary", "")).rstrip()
    inner = [
        _Stretch(start, end, depth, default, stretch.forwarded) for start, end in _between(data, body, stretch.end, boundary)
    ]
    if not inner:
        raise Refused("554 5.6.0 The mail's parts cannot be told apart: its boundary is missing")
    return inner


def _between(data: mmap.mmap, start: int, end: int, boundary: str) -> list[tuple[int, int]]:
    """Return the stretches between the boundary's lines (RFC 2046 section 5.1.1); one without an end reaches to `end`."""
    found: list[tuple[int, int]] = []
    mark = b"--" + boundary.encode("utf-8", "replace")
    begun, position = -1, start
    while boundary and (at := data.find(mark, position, end)) >= 0:
        position = at + len(mark)
        if at > start and data[at - 1 : at] != b"\n":
            continue
        newline = data.find(b"\n", position, min(end, position + 1000))
        after = end if newline < 0 else newline + 1
        tail = data[position:after].rstrip(b"\r\n \t") if after - position <= 1001 else b"x"
        if tail and not tail.startswith(b"--"):
            continue
        if begun >= 0:
            found.append((begun, max(begun, _before_newline(data, at, start))))
        if len(found) > MAX_PARTS or tail:
            return found
        begun = position = after
    if begun >= 0:
        found.append((begun, end))
    return found


def _before_newline(data: mmap.mmap, at: int, start: int) -> int:
    """The line break before a boundary belongs to the boundary."""
    at -= at > start and data[at - 1 : at] == b"\n"
    return at - (at > start and data[at - 1 : at] == b"\r")


def _encoding(headers: Headers) -> Encoding:
    raw = str(headers.get("Content-Transfer-Encoding", "")).split(";")[0].strip().lower()
    encoding = _ENCODINGS.get(raw)
    if encoding is None:
        raise Refused(f"554 5.6.0 The mail uses the unknown transfer encoding {raw[:40]!a}")
    return encoding


def _leaf(headers: Headers, body: int, stretch: _Stretch) -> Part:
    cid = str(headers.get("Content-ID", "")).strip().strip("<>")
    charset = headers.get_param("charset")
    return Part(
        offset=body,
        length=stretch.end - body,
        encoding=_encoding(headers),
        content_type=headers.get_content_type(),
        filename=_filename(headers),
        disposition=headers.get_content_disposition(),
        cid=cid or None,
        charset=None if charset is None else collapse_rfc2231_value(charset),
        forwarded=stretch.forwarded,
        url=_url(headers),
    )


def _url(headers: Headers) -> str | None:
    """RFC 2017: where a document of `message/external-body` lives; blanks in it are the sender's line breaks."""
    if headers.get_content_type() != EXTERNAL or str(headers.get_param("access-type", "")).lower() != "url":
        return None
    return "".join(collapse_rfc2231_value(headers.get_param("url", "")).split()) or None


def _filename(headers: Headers) -> str | None:
    """`filename` of Content-Disposition, else `name` of Content-Type; both also in RFC 2047, as many clients write them.

    Where both spellings stand, the plain one is for old readers and RFC 2231's is the name.
    """
    disposition = headers.get_params([], "content-disposition")
    values: list[Any] = [value for key, value in disposition if key.lower() == "filename" and value]
    values.sort(key=lambda value: not isinstance(value, tuple))
    value = values[0] if values else headers.get_param("name", None)
    if isinstance(value, tuple):
        value = (known_charset(value[0] or "us-ascii"), *value[1:])
    return None if value is None else decode_words(collapse_rfc2231_value(value))


def known_charset(name: str) -> str:
    """Return a charset's name as Python knows it: `iso-8859-8-i` is logical Hebrew, as all mail is today."""
    return name.strip().lower().removesuffix("-i").removesuffix("-e")


def decode_words(value: str) -> str:
    """Return a header value with its RFC 2047 words decoded; what cannot be decoded stays as it is."""
    if "=?" not in value:
        return value
    try:
        # Where nothing is encoded, decode_header answers text, and bytes in this codec beside encoded words.
        words = [(word, charset or "raw-unicode-escape") for word, charset in decode_header(value)]
        text = "".join(
            word if isinstance(word, str) else word.decode(known_charset(charset), "replace") for word, charset in words
        )
        # UTF-7 and its kind can spell halves of surrogate pairs, which no database and no JSON takes.
        return text.encode("utf-8", "replace").decode()
    except (LookupError, ValueError, HeaderParseError):
        return value
