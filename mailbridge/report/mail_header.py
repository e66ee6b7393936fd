"""The header of a mail: its fields as text, whatever bytes it has. Pure. Nothing in here raises."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from email.errors import HeaderParseError
from email.header import decode_header
from email.parser import BytesHeaderParser
from email.policy import compat32
from email.utils import parsedate_to_datetime
from functools import lru_cache

# Bytes that are looked at. The longest decoded value, in characters.
MAX_HEADER = 256 * 1024
MAX_VALUE = 1000

# Each a name in lower case, and its raw value.
Fields = Sequence[tuple[str, str]]

_END = re.compile(rb"\r?\n\r?\n")
_UNKNOWN_ZONE = re.compile(r":\d\d *-0000\b", re.ASCII)


def read_fields(content: bytes) -> Fields:
    """Return every header field of a mail in its order; none where the header cannot be parsed."""
    end = _END.search(content, 0, MAX_HEADER)
    return _parse(content[: end.start()] if end else content[:MAX_HEADER])


@lru_cache(maxsize=8)
def _parse(head: bytes) -> Fields:
    # Cached, since each step of the pipeline reads the header of its mail.
    try:
        message = BytesHeaderParser(policy=compat32).parsebytes(head + b"\r\n\r\n")
        return tuple((name.lower().strip(), str(value)) for name, value in message.raw_items())
    except Exception:  # stdlib's parser has raised a dozen kinds on hostile mail, RecursionError among them
        return ()


def first(fields: Fields, name: str) -> str:
    """Return the decoded value of the first field with this name, or an empty string."""
    return next((decode(value) for found, value in fields if found == name), "")


def decode(value: str) -> str:
    """Return a raw value as text: RFC 2047 encoded words decoded, 8-bit bytes read as UTF-8 or windows-1255."""
    value = " ".join(value[:8000].split())
    if value.isascii() and "=?" not in value and "\0" not in value:
        return value[:MAX_VALUE]
    try:
        pieces = [decode_bytes(raw, charset) for raw, charset in decode_header(value)]
    except (HeaderParseError, ValueError):
        pieces = [decode_bytes(value, None)]
    # How much of a broken encoded word remains differs between versions of Python; the word itself says more than nothing.
    text = " ".join(("".join(pieces) or value).replace("\0", "").split())[:MAX_VALUE]
    # UTF-7 and its kind can spell halves of surrogate pairs, which no database and no JSON accepts.
    return text.encode("utf-8", "replace").decode()


def decode_bytes(raw: bytes | str, charset: str | None) -> str:
    """Return bytes as text by the first of `charset`, UTF-8 and windows-1255 that fits."""
    if isinstance(raw, str):
        raw = raw.encode("utf-8", "surrogateescape")
    for name in (charset if charset != "unknown-8bit" else None, "utf-8", "windows-1255"):
        try:
            return raw.decode(name or "utf-8")
        except (LookupError, ValueError):
            continue
    return raw.decode("utf-8", "replace")


def read_date(value: str, zone: tzinfo) -> datetime | None:
    """Return the time of a Date field in UTC; `zone` is that of a Date without one. None where it is not a date."""
    try:
        moment = parsedate_to_datetime(value)
        # -0000 is UTC from a sender who does not say where they are (RFC 5322 section 3.3); Python reads it as no zone.
        zone = UTC if _UNKNOWN_ZONE.search(value) else zone
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
