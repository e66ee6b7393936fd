"""The text of Rich Text, in which Outlook writes a mail in winmail.dat (MS-OXRTFCP, RTF 1.9.1). Pure.

Only what a reader sees is kept: letters, ends of lines and tabs. The input is hostile: each byte is looked at once, and the size
of what comes out is limited.
"""

from __future__ import annotations

import html
import re
import struct
from dataclasses import dataclass, replace
from typing import Final

from mailbridge.submission.letter.charsets import decode_text
from mailbridge.submission.letter.html_text import text_of_html

_MAX_SIZE: Final = 2_000_000  # bytes after decompression, pictures included
# MS-OXRTFCP section 2.1.2.1: what the dictionary holds at the beginning.
_DICTIONARY: Final = (
    b"{\\rtf1\\ansi\\mac\\deff0\\deftab720{\\fonttbl;}{\\f0\\fnil \\froman \\fswiss \\fmodern \\fscript \\fdecor MS Sans Serif"
    b"SymbolArialTimes New RomanCourier{\\colortbl\\red0\\green0\\blue0\r\n\\par \\pard\\plain\\f0\\fs20\\b\\i\\u\\tab\\tx"
)
_RING: Final = 4096
_MAX_GROUPS: Final = 1000  # that are open in each other

_TOKEN: Final = re.compile(
    rb"\\([a-z]{1,32})(-?[0-9]{1,9})? ?|\\'([0-9a-fA-F]{2})|\\(.)|([{}])|([^\\{}\r\n]+)|[\r\n]+|\\", re.DOTALL
)
_HIDDEN: Final = (b"colortbl", b"footer", b"generator", b"header", b"info", b"listtable", b"object", b"pict", b"stylesheet")
_WRITTEN: Final = {
    **dict.fromkeys((b"par", b"line", b"row", b"sect", b"page"), "\n"),
    **dict.fromkeys((b"tab", b"cell"), "\t"),
    b"emdash": "—",
    b"endash": "–",
    b"bullet": "•",
    b"lquote": "‘",
    b"rquote": "’",
    b"ldblquote": "“",
    b"rdblquote": "”",
}
# `\\fcharset` of a font: the code page of its letters.
_CHARSETS: Final = {
    0: "",
    161: "cp1253",
    162: "cp1254",
    177: "cp1255",
    178: "cp1256",
    186: "cp1257",
    204: "cp1251",
    238: "cp1250",
}


def decompress(compressed: bytes) -> bytes:
    """Return decompressed RTF. Raises ValueError for what is not compressed RTF, or longer than 2 MB."""
    try:
        size, raw_size, kind = struct.unpack_from("<II4s", compressed)
    except struct.error:
        raise ValueError("not compressed RTF") from None
    if raw_size > _MAX_SIZE:
        raise ValueError("too long")
    if kind == b"MELA":
        return compressed[16 : 16 + raw_size]
    if kind != b"LZFu":
        raise ValueError("not compressed RTF")
    ring = bytearray(_DICTIONARY.ljust(_RING, b"\0"))
    out, write, at = bytearray(), len(_DICTIONARY), 16
    end = min(len(compressed), size + 4)
    while at < end and len(out) < raw_size:
        flags, at = compressed[at], at + 1
        for bit in range(8):
            is_copy = flags >> bit & 1
            if at + is_copy >= end:
                return bytes(out)
            if not is_copy:
                piece, at = compressed[at : at + 1], at + 1
            else:
                (token,) = struct.unpack_from(">H", compressed, at)
                offset, at = token >> 4, at + 2
                if offset == write:
                    return bytes(out)
                piece = _copy(ring, offset, (token & 15) + 2, write)
            for byte in piece:
                ring[write] = byte
                write = (write + 1) % _RING
            out += piece
    return bytes(out)


def _copy(ring: bytearray, offset: int, length: int, write: int) -> bytes:
    """Return bytes of the ring. A copy may go on in what it has just written."""
    distance = (write - offset) % _RING or _RING
    return bytes(ring[(offset + index % distance) % _RING] for index in range(length))


@dataclass(frozen=True, slots=True)
class _State:
    """What holds in a group. `is_markup` is HTML, of which Outlook made the RTF (MS-OXRTFEX)."""

    is_hidden: bool = False
    is_font_table: bool = False
    is_markup: bool = False
    encoding: str = ""
    replaced: int = 1  # letters behind a Unicode character that are for old readers


def text_of_rtf(rtf: bytes) -> str:
    """Return the text that a reader of RTF shows."""
    reader = _Reader()
    for token in _TOKEN.finditer(rtf):
        reader.read(token)
    reader.flush()
    text = "".join(reader.pieces).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text_of_html(text) if reader.is_from_html else text


class _Reader:
    def __init__(self) -> None:
        self.pieces: list[str] = []
        self._letters: list[bytes] = []
        self._state = _State()
        self._outer: list[_State] = []
        self._default, self._font, self._fonts = "cp1252", 0, dict[int, str]()
        self._skip = 0
        self._is_start = self._is_only_rtf = False
        self.is_from_html = False

    def read(self, token: re.Match[bytes]) -> None:
        """Take the next token."""
        word, number, code, symbol, brace, letters = token.groups()
        is_start, self._is_start = self._is_start, brace == b"{"
        if brace:
            self._read_brace(brace)
        elif word:
            self._read_word(word, int(number) if number else None, is_start=is_start)
        elif symbol == b"*" and is_start:
            self._hide()
        elif code or letters or symbol:
            self._write(
                bytes.fromhex(code.decode()) if code else letters or {b"~": b" ", b"-": b"", b"_": b"-"}.get(symbol, symbol)
            )

    def flush(self) -> None:
        """Decode the letters that were read."""
        if self._letters:
            text = decode_text(b"".join(self._letters), self._state.encoding or self._default)
            self.pieces.append(html.escape(text) if self.is_from_html and not self._state.is_markup else text)
            self._letters.clear()

    def _read_brace(self, brace: bytes) -> None:
        self.flush()
        if brace == b"{":
            if len(self._outer) < _MAX_GROUPS:
                self._outer.append(self._state)
        elif self._outer:
            self._state = self._outer.pop()

    def _read_word(self, word: bytes, number: int | None, *, is_start: bool) -> None:
        if is_start and word in _HIDDEN:
            self._hide()
        elif word == b"fonttbl":
            self._state = replace(self._state, is_hidden=True, is_font_table=True)
        elif word == b"ansicpg" and number is not None:
            self._default = f"cp{number}"
        elif word == b"f" and number is not None:
            self._read_font(number)
        elif word == b"fcharset" and self._state.is_font_table:
            self._fonts[self._font] = _CHARSETS.get(number or 0, "")
        elif word == b"fromhtml":
            self.is_from_html = True
        elif word == b"htmltag":
            self._state = replace(self._state, is_hidden=False, is_markup=True)
        elif word == b"htmlrtf":
            self._is_only_rtf = number != 0
        elif word == b"uc" and number is not None:
            self._state = replace(self._state, replaced=min(max(number, 0), 10))
        elif word == b"u" and number is not None:
            self._append(chr(number % 0x10000))
            self._skip = self._state.replaced
        elif word in _WRITTEN:
            self._append(_WRITTEN[word])

    def _read_font(self, number: int) -> None:
        self._font = number
        if not self._state.is_font_table:
            self.flush()
            self._state = replace(self._state, encoding=self._fonts.get(number, ""))

    def _hide(self) -> None:
        self._state = replace(self._state, is_hidden=True)

    def _write(self, letters: bytes) -> None:
        skipped = min(self._skip, len(letters))
        self._skip -= skipped
        if not self._state.is_hidden and not self._is_only_rtf:
            self._letters.append(letters[skipped:])

    def _append(self, text: str) -> None:
        self.flush()
        if not self._state.is_hidden and not self._is_only_rtf:
            self.pieces.append(text)
