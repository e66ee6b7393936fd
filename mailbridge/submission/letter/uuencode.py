"""Files that old programs put into the text of a mail by uuencode (POSIX.1, `uuencode`). Pure."""

from __future__ import annotations

import binascii
import itertools
import re
from typing import Final, NamedTuple

MAX_FILES: Final = 100
_MAX_BEGINNINGS: Final = 10_000  # that are looked at
# Programs write lines of 45 bytes, and one that is shorter.
_MAX_SHORT_LINES: Final = 100_000
_BEGIN: Final = re.compile(rb"^begin(-base64)? [0-7]{3,4} ([^\r\n]{1,255})\r?\n", re.MULTILINE)
_END: Final = (b"end", b"====")
_WHOLE: Final = b"M"  # begins a line of 45 bytes, which are 60 characters
_WHOLE_SIZE: Final = 61
# The characters of uuencode, for which zero is a space or an accent, as those of base64.
_TO_BASE64: Final = bytes.maketrans(bytes(range(32, 97)), b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/A")


class CutOff(ValueError):
    """A file begins in the text and does not end."""


class PackedFile(NamedTuple):
    """A file of the text, and its name in bytes of the text's charset."""

    name: bytes
    content: bytes


def unpack(text: bytes) -> tuple[bytes, list[PackedFile]]:
    """Return the text without the files in it, and the files. Raises CutOff. What is beyond MAX_FILES stays in the text."""
    kept: list[bytes] = []
    files: list[PackedFile] = []
    position = 0
    for begin in itertools.islice(_BEGIN.finditer(text), _MAX_BEGINNINGS):
        if begin.start() < position:
            continue
        content, end = _decode(text, begin.end(), is_base64=begin[1] is not None)
        # Prose may have such a line too.
        if content:
            kept.append(text[position : begin.start()])
            files.append(PackedFile(begin[2].strip(), content))
            position = end
        if len(files) == MAX_FILES:
            break
    kept.append(text[position:])
    return b"".join(kept), files


def _decode(text: bytes, start: int, *, is_base64: bool) -> tuple[bytes, int]:
    """Return a file's content, and where the text goes on behind it; no content if the lines are not of a file."""
    decode_whole, decode_line = (binascii.a2b_base64,) * 2 if is_base64 else (_decode_characters, _decode_line)
    decoded: list[bytes] = []
    whole: list[bytes] = []
    position, is_end = start, False
    while len(decoded) < 2 * _MAX_SHORT_LINES:
        newline = text.find(b"\n", position)
        after = len(text) if newline < 0 else newline + 1
        line = text[position:after].rstrip()
        is_end = line in _END
        if is_base64 and len(line) >= _WHOLE_SIZE - 1 and len(line) % 4 == 0 and line[-1:] != b"=":
            whole.append(line)
        elif not is_base64 and len(line) == _WHOLE_SIZE and line[:1] == _WHOLE:
            whole.append(line[1:])
        else:
            try:
                decoded.append(decode_whole(b"".join(whole)))
                decoded.append(b"" if is_end else decode_line(line))
            except ValueError:
                break
            whole.clear()
        if is_end or after == len(text) or not (any(decoded) or whole):
            break
        position = after
    content = b"".join(decoded)
    if is_end:
        return content, after
    if content or whole:
        raise CutOff("a file in the text is cut off")
    return b"", start


def _decode_line(line: bytes) -> bytes:
    """Decode one line. Relays strip the spaces at its end, which are zeros; some programs write more than its length says."""
    if not line:
        return b""
    length = (line[0] - 32) & 63
    size = (length + 2) // 3 * 4
    return _decode_characters(line[1 : 1 + size].ljust(size))[:length]


def _decode_characters(characters: bytes) -> bytes:
    if characters.translate(None, bytes(range(32, 97))):
        raise ValueError("not of uuencode")
    return binascii.a2b_base64(characters.translate(_TO_BASE64))
