"""Read the header of a mail or of a part (RFC 5322 section 2.2), also where relays and old programs broke it.

What is not a header field does not end the header if known fields follow: a blank line with a space in it, a continuation that
is not indented, a line that a gateway or an mbox left. Otherwise the rest of the header, with the mail's type in it, would be
taken for text.
"""

from __future__ import annotations

import contextlib
import mmap
import re
from collections.abc import Callable

from mailbridge.errors import Refused

MAX_HEADERS = 100_000

_MBOX = re.compile(rb">?From \S+ ", re.IGNORECASE)
_FIELD = re.compile(rb"[!-9;-~]{1,200}[ \t]*:")
_KNOWN = re.compile(
    rb"(?:arc-|authentication-results|auto-submitted|bcc|cc|content-|date|delivered-to|disposition-|dkim-|from|importance|in-reply-to"
    rb"|list-|message-id|mime-version|organi[sz]ation|precedence|priority|received|references|reply-to|return-path|sender|subject"
    rb"|thread-|to|user-agent|x-)[!-9;-~]{0,100}[ \t]*:",
    re.IGNORECASE,
)
# A header as it should be. Nothing in it is tried twice.
_LINE = r"([!-9;-~]{1,200}):([^\r\n]*+(?:\r\n[ \t]++[^ \t\v\f\r\n][^\r\n]*+)*+)\r\n"
_LINES, _HEADER = re.compile(_LINE), re.compile(f"(?:{_LINE})++")
_BLANKS = " \t\v\f"
_PARAMETER = re.compile(rb"(?:boundary|charset|name|filename|type|format|delsp|start|protocol|micalg)[*0-9]{0,4}=", re.IGNORECASE)


class Headers:
    """Header fields, whose names are found in any case. `default_type` is the media type of a part without Content-Type."""

    __slots__ = ("_fields", "default_type")

    def __init__(self, default_type: str) -> None:
        self._fields: dict[str, list[str]] = {}
        self.default_type = default_type

    def add(self, name: str, value: str) -> None:
        """Add a field behind those of the same name."""
        self._fields.setdefault(name.lower(), []).append(value)

    def get(self, name: str) -> str | None:
        """Return the first field with this name."""
        found = self._fields.get(name.lower())
        return None if found is None else found[0]

    def text(self, name: str) -> str:
        """Return the first field with this name, or nothing."""
        return self.get(name) or ""

    def get_all(self, name: str) -> list[str]:
        """Return all fields with this name, in their order."""
        return self._fields.get(name.lower(), [])

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._fields


def read_headers(data: mmap.mmap | bytes, start: int, end: int, default_type: str, *, is_mail: bool) -> tuple[Headers, int]:
    """Return the header that begins at `start`, and where the body begins. `is_mail` is false for a part of a mail.

    Raises Refused for more than MAX_HEADERS bytes.
    """
    headers = Headers(default_type)
    limit = min(end, start + MAX_HEADERS + 1)
    if (body := _read_well_formed(data, start, limit, headers)) is not None:
        return headers, body

    def line_at(position: int) -> tuple[bytes, int]:
        newline = data.find(b"\n", position, limit)
        after = newline + 1 if newline >= 0 else limit
        return data[position:after].rstrip(b"\r\n"), after

    position, name, value = start, "", ""
    while position < end:
        line, after = line_at(position)
        if after == limit < end:
            break
        if _continues(line, name, value, line_at, after):
            value += f" {_text(line.strip())}" if line.strip() else ""
        elif _FIELD.match(line) and not (position == start and is_mail and _MBOX.match(line)):
            _keep(headers, name, value)
            field, _, rest = line.partition(b":")
            name, value = _text(field.strip()), _text(rest.strip())
        elif not line or not _is_left_over(line, is_mail, position == start, line_at, after):
            _keep(headers, name, value)
            return headers, position if line.strip() else after
        position = after
    if position < end:
        raise Refused(
            f"554 5.6.0 The mail has more than {MAX_HEADERS // 1000} KB of headers in one part; send it from another program"
        )
    _keep(headers, name, value)
    return headers, end


def _read_well_formed(data: mmap.mmap | bytes, start: int, limit: int, headers: Headers) -> int | None:
    """Add the fields of a header without faults, and return where the body begins; None for one that is to be read by line.

    A small mail has three such headers; by line they took an eighth of its time.
    """
    end = data.find(b"\r\n\r\n", start, limit)
    try:
        text = data[start : end + 2].decode() if end >= 0 else ""
    except UnicodeDecodeError:
        return None
    if _HEADER.fullmatch(text) is None or end + 4 >= limit:
        return None
    fields = [(name, _unfolded(value)) for name, value in _LINES.findall(text)]
    if any(value.endswith(";") for _, value in fields):  # the next line may be a parameter
        return None
    for name, value in fields:
        headers.add(name, value)
    return end + 4


def _unfolded(value: str) -> str:
    if "\r\n" not in value:
        return value.strip(_BLANKS)
    return " ".join(line.strip(_BLANKS) for line in value.split("\r\n"))


def _continues(line: bytes, name: str, value: str, line_at: Callable[[int], tuple[bytes, int]], after: int) -> bool:
    """Return whether a line continues a field: it is indented, or a parameter behind a semicolon, folded wrongly."""
    if not name or not line:
        return False
    if line[:1] in (b" ", b"\t"):
        # A line of blanks is a continuation (RFC 5322 section 4.2), unless the body follows it.
        return bool(line.strip()) or _KNOWN.match(line_at(after)[0]) is not None
    return value.endswith(";") and _PARAMETER.match(line) is not None


def _is_left_over(line: bytes, is_mail: bool, is_first: bool, line_at: Callable[[int], tuple[bytes, int]], after: int) -> bool:
    """Return whether a line that is no field was left in the header by an mbox or a gateway."""
    if not is_mail or line[:2] == b"--":
        return False
    return (is_first and _MBOX.match(line) is not None) or _KNOWN.match(line_at(after)[0]) is not None


def _keep(headers: Headers, name: str, value: str) -> None:
    if name:
        headers.add(name, value)


def _text(raw: bytes) -> str:
    """Decode a header line: ASCII and UTF-8 (RFC 6532), else raw Hebrew as old programs send it, else any byte as it is."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        pass
    with contextlib.suppress(UnicodeDecodeError):
        return raw.decode("cp1255")
    return raw.decode("latin-1")
