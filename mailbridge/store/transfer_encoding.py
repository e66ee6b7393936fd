"""Decode a body piece by piece (RFC 2045 section 6), as real mail programs write it. Pure.

The same part of a file is decoded when a mail is read and when it is uploaded, and the results must agree, so both use these
decoders. The result does not depend on how a body is cut into pieces.
"""

from __future__ import annotations

import binascii
import re
from typing import Final, Protocol

from pybase64 import b64decode

from mailbridge.store.equal_lines import without_line_ends

_CHUNK: Final = 64 * 1024
_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_FOREIGN: Final = bytes(set(range(256)) - set(_ALPHABET))
# Without padding: data after it is checked line by line.
_LETTERS: Final = _ALPHABET.removesuffix(b"=")
_BLANKS: Final = b" \t\r\n"
# Programs write lines of 60, 64, 72 or 76 characters (RFC 2045 section 6.8 allows 76); a word of prose is shorter.
_WHOLE_LINE: Final = 60
_MOST_BLANKS: Final = 1000  # between a soft line break and the end of its line
_BLANKS_BEHIND_SOFT_BREAK: Final = re.compile(rb"=[ \t]{1,1000}+(?=\r?\n|\Z)")
_PADDING: Final = re.compile(b"=+")


class Decoder(Protocol):
    """Decodes one body piece by piece; `last` marks the end of the body."""

    def decode(self, data: bytes, last: bool) -> bytes:
        """Return what can be decoded so far."""


class Identity:
    """7bit, 8bit and binary: bytes as they are (section 6.2)."""

    def decode(self, data: bytes, last: bool) -> bytes:
        """Return `data`."""
        return data


class Base64:
    """Base64 (section 6.8). Padding may be missing, and data may follow padding: some programs encode in segments.

    A stray byte that is not base64 is skipped, as the RFC asks. Lines of prose are left out: a mail gateway added them, mostly as
    a footer, and decoded they would be noise.
    """

    def __init__(self) -> None:
        self._line = b""  # without its end
        self._quad = b""
        self._doubtful: list[bytes] = []
        self._doubtful_size = 0
        self._begun = self._padded = False

    def decode(self, data: bytes, last: bool) -> bytes:
        """Return the content of whole lines, up to the last whole quad; at the end also that of an incomplete quad."""
        data = self._line + data
        cut = len(data) if last or len(data) - data.rfind(b"\n") > _CHUNK else data.rfind(b"\n") + 1
        self._line, data = data[cut:], data[:cut]
        decoded = None if self._doubtful or self._padded else self._decode_clean(without_line_ends(data))
        if decoded is None:
            decoded = b"".join([self._decode_line(line.strip(_BLANKS)) for line in data.split(b"\n")])
        return decoded + self._end() if last else decoded

    def _decode_clean(self, characters: bytes) -> bytes | None:
        """Decode characters without line ends if all are base64, as nearly always; None if not, and nothing is decoded then."""
        if b"=" in characters:
            # Padding at the very end is looked at no closer: nothing stands behind it yet.
            return None if characters.rstrip(b"=").translate(None, _LETTERS) else self._decode_characters(characters)
        whole = self._quad + characters
        cut = len(whole) & ~3
        try:
            decoded = b64decode(whole[:cut], validate=True)
        except ValueError:
            return None
        if whole[cut:].translate(None, _LETTERS):
            return None
        self._quad = whole[cut:]
        self._begun = self._begun or bool(characters)
        return decoded

    def _decode_line(self, line: bytes) -> bytes:
        if not line:
            return b""
        clean, is_prose = line.translate(None, _FOREIGN), _is_prose(line)
        starts_segment = not self._doubtful and (not self._padded or len(clean) % 4 == 0)
        if not is_prose and (len(clean) >= _WHOLE_LINE or (len(clean) == len(line) and starts_segment)):
            return self._accept_doubtful(len(self._doubtful)) + self._decode_characters(clean)
        self._doubtful.append(line)
        self._doubtful_size += len(line)
        return self._accept_doubtful(len(self._doubtful)) if self._doubtful_size > _CHUNK else b""

    def _accept_doubtful(self, count: int) -> bytes:
        """Decode the first doubtful lines, except prose before or after data, and drop all of them."""
        lines, self._doubtful, self._doubtful_size = self._doubtful[:count], [], 0
        return b"".join([self._decode_characters(line.translate(None, _FOREIGN)) for line in lines if not _is_prose(line)])

    def _decode_characters(self, characters: bytes) -> bytes:
        characters = self._quad + characters
        decoded = []
        if b"=" in characters:
            *segments, characters = _PADDING.split(characters)
            decoded = [_segment(segment) for segment in segments]
        self._padded = bool(decoded) and not characters
        self._begun = self._begun or bool(characters) or bool(decoded)
        whole = len(characters) & ~3
        self._quad = characters[whole:]
        return b"".join([*decoded, b64decode(characters[:whole], validate=True)])

    def _end(self) -> bytes:
        """Decode what is left, without a footer: it begins with a line of prose, or with a word behind the padding."""
        begins = (number for number, line in enumerate(self._doubtful) if _is_prose(line) or not line.translate(None, _ALPHABET))
        decoded = self._accept_doubtful(next(begins, len(self._doubtful)) if self._begun else len(self._doubtful))
        rest, self._quad = self._quad, b""
        return decoded + _segment(rest)


def _segment(characters: bytes) -> bytes:
    """Decode characters that are followed by padding, or should be. A single character of a quad holds no byte."""
    if len(characters) % 4 == 1:
        characters = characters[:-1]
    return binascii.a2b_base64(characters + b"=" * (-len(characters) % 4))


def _is_prose(line: bytes) -> bool:
    """Return whether a line has blanks between words, or several bytes that are not base64."""
    foreign = len(line.translate(None, _ALPHABET))
    return b" " in line or b"\t" in line or foreign == len(line) or (foreign > 1 and foreign * 10 > len(line))


class QuotedPrintable:
    """Quoted-printable, decoded line by line (section 6.7). Relays put blanks behind the `=` that joins two lines (rule 3)."""

    def __init__(self) -> None:
        self._rest = b""

    def decode(self, data: bytes, last: bool) -> bytes:
        """Return the decoded whole lines; at the end, or from a very long line, as much as there is."""
        data = self._rest + data
        cut = len(data) if last else data.rfind(b"\n") + 1
        if cut == 0 and len(data) > _CHUNK:
            # Not between the characters of an escape, nor before what may be a soft line break.
            cut = data.rfind(b"=", max(len(data.rstrip(b" \t\r")), len(data) - _MOST_BLANKS) - 3)
            cut = len(data) if cut < 0 else cut
        self._rest = data[cut:]
        return binascii.a2b_qp(_BLANKS_BEHIND_SOFT_BREAK.sub(b"=", data[:cut]))


def decoder(encoding: str) -> Decoder:
    """Return a fresh decoder for a Document's encoding."""
    if encoding == "base64":
        return Base64()
    return QuotedPrintable() if encoding == "quoted-printable" else Identity()
