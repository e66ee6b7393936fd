"""Text decoded by its charset, also where some bytes are wrong or the charset is not the declared one. Pure.

One wrong byte must not turn a whole Hebrew text into noise. So a charset holds if most of the text fits it, and only what does
not fit is replaced.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

_BAD: Final = "\ufffd"
# Hebrew bytes by windows-1255, which has all of ISO 8859-8. What it lacks is a letter of windows-1252 mostly, as in `Müller`.
_WESTERN: Final = [bytes([byte]).decode("cp1252", "replace") for byte in range(256)]
_HEBREW: Final = "".join(
    character if character != _BAD else western if western.isalpha() else _BAD
    for character, western in zip((bytes([byte]).decode("cp1255", "replace") for byte in range(256)), _WESTERN, strict=True)
)
_HEBREW_NAMES: Final = ("cp1255", "iso8859-8")
_WESTERN_NAMES: Final = ("iso8859-1", "cp1252")
# Programs write these for a text of any charset.
_VAGUE: Final = ("ascii", *_WESTERN_NAMES)
# They have no meaning for mail, or take time that grows with the square of the text.
_UNFIT: Final = ("idna", "punycode", "unicode-escape", "unicode_escape", "raw-unicode-escape", "raw_unicode_escape", "undefined")
_SHIFTED: Final = ("utf-7", "hz", "iso2022")
_WIDE: Final = ("utf-16", "utf-32")
_MARKS: Final = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
# A letter of UTF-8 that a relay cut by a line end, with or without the space of a folded header.
_CUT_LETTER: Final = re.compile(rb"([\xc2-\xdf]|[\xe0-\xef][\x80-\xbf]?|[\xf0-\xf4][\x80-\xbf]{0,2})\r?\n[ \t]?(?=[\x80-\xbf])")
# Relays cut lines at 990 or 998 bytes (RFC 5322 section 2.1.1), and begin the next one with a space.
_CUT_LINE: Final = range(985, 1001)
_HEBREW_WORD: Final = re.compile(rb"(?<![A-Za-z\x80-\xff])[\xe0-\xfa]{2,}(?![A-Za-z\x80-\xff])")
# Hebrew letters in DOS are the bytes 80 to 9A.
_DOS_WORD: Final = re.compile(rb"(?<![A-Za-z\x80-\xff])[\x80-\x9a]{2,}(?![A-Za-z\x80-\xff])")
_HIGH_WORD: Final = re.compile(rb"(?<![A-Za-z\x80-\xff])[\xc0-\xff]{2,}(?![A-Za-z\x80-\xff])")
_NOT_OF_HEBREW: Final = re.compile(rb"\A[\xc0-\xdf]|[\xfb\xfc\xff]|(?<=[\xc0-\xff])[\xea\xed\xef\xf3\xf5](?=[\xe0-\xff])")
_DOS_NAMES: Final = ("cp862", "cp856")
_LEAST_WORDS: Final = 3
_FINAL_FIRST: Final = re.compile(r"(?<![א-ת])[ךםןףץ](?=[א-ת])")
_FINAL_LAST: Final = re.compile(r"(?<=[א-ת])[ךםןףץ](?![א-ת])")
_LEFT_TO_RIGHT: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.,:/@_\-+]*[A-Za-z0-9])?%?")
_MIRRORED: Final = str.maketrans("()[]<>", ")(][><")
_ASCII: Final = bytes(range(128))
# The first bytes of Latin, Cyrillic, Hebrew, Arabic, punctuation and currency in UTF-16.
_HIGH_BYTES: Final = b"\x00\x01\x02\x03\x04\x05\x06\x20\x21\xfb"
_LEAST_WIDE: Final = 8  # bytes
_TO_BYTES: Final = {ord(western): byte for byte, western in enumerate(_WESTERN) if western != _BAD}
_ACCENT: Final = re.compile(rb"[A-Za-z][\xc0-\xff]|[\xc0-\xff][A-Za-z]")


def known_charset(name: str) -> str:
    """Return a charset's name as Python knows it, or an empty one. `iso-8859-8-i` is logical Hebrew, as all mail is today."""
    bare = name.strip(" \t\"'").lower().removesuffix("-i").removesuffix("-e")
    try:
        known = codecs.lookup(bare).name if bare.isascii() and "\0" not in bare else ""
        b"a".decode(known or "ascii", "ignore")
    except (LookupError, ValueError):
        return ""
    return "" if known in _UNFIT else known


def decode_text(content: bytes, charset: str | None) -> str:
    """Return text of a declared charset. Bytes that do not fit are replaced by U+FFFD. Never fails."""
    for mark, marked in _MARKS:
        if content.startswith(mark):
            return _whole(content.decode(marked, "replace"))
    declared = known_charset(charset or "")
    if (wide := _wide_without_mark(content)) is not None and not declared.startswith(_WIDE):
        return _whole(content.decode(wide, "replace"))
    if declared.startswith(_SHIFTED) or (declared.startswith(_WIDE) and not _is_utf8(content)):
        return _whole(content.decode(declared, "replace"))
    if content.isascii():
        return content.decode("ascii")
    unicode = _CUT_LETTER.sub(rb"\1", content).decode("utf-8", "replace")
    # Programs also write U+FFFD itself, for what they lost.
    is_sound = unicode.count(_BAD) == content.count(_BAD.encode())
    if is_sound or _fits(unicode, 1 if declared == "utf-8" else 4):
        return _decoded_once(unicode)
    if _is_of_dos(content) and not declared.startswith("cp8"):
        return _in_logical_order(content.decode("cp862", "replace"))
    if declared in _HEBREW_NAMES:
        return _in_logical_order(codecs.charmap_decode(content, "replace", _HEBREW)[0])
    if declared and declared not in _VAGUE and declared != "utf-8":
        text = content.decode(declared, "replace")
        if _fits(text, 1):
            return _in_logical_order(text) if declared in _DOS_NAMES else _whole(text)
    if _is_russian(content):
        return content.decode("cp1251", "replace")
    is_western = declared in _WESTERN_NAMES or _ACCENT.search(content) is not None
    if is_western and not _HEBREW_WORD.search(content):
        return content.decode("cp1252", "replace")
    return codecs.charmap_decode(content, "replace", _HEBREW)[0]


def _wide_without_mark(content: bytes) -> str | None:
    """Return the name of UTF-16 for text in it without a mark, as some programs declare it UTF-8: half of its bytes are few."""
    if b"\0" not in content:
        return None
    for name, high in (("utf-16-le", content[1::2]), ("utf-16-be", content[::2])):
        if b"\0" in high and len(content) >= _LEAST_WIDE and not high.translate(None, _HIGH_BYTES):
            return name
    return None


def _decoded_once(text: str) -> str:
    """Undo what a program did that took UTF-8 for windows-1252, and encoded that again: `×©` for a Hebrew letter."""
    if "\u00d7" not in text and "\u00c3" not in text and "\u00d0" not in text:
        return text
    try:
        return text.translate(_TO_BYTES).encode("latin-1").decode()
    except UnicodeError:
        return text


def _is_of_dos(content: bytes) -> bool:
    """Return whether the words are of Hebrew letters as DOS has them (code page 862), which are punctuation elsewhere."""
    words = _DOS_WORD.findall(content)
    return len(words) >= _LEAST_WORDS and 2 * sum(map(len, words)) > len(content.translate(None, _ASCII))


def _is_russian(content: bytes) -> bool:
    """Return whether the words are of windows-1251: with capitals, letters that Hebrew lacks, and its final ones within words."""
    words = _HIGH_WORD.findall(content)
    return sum(len(_NOT_OF_HEBREW.findall(word)) for word in words) > 1 + len(words) // 5


def _in_logical_order(text: str) -> str:
    """Return Hebrew that was written from left to right, as old programs do it, in the order in which it is read.

    In such a text, final letters begin words.
    """
    if len(_FINAL_FIRST.findall(text)) <= len(_FINAL_LAST.findall(text)):
        return text
    lines = (_LEFT_TO_RIGHT.sub(lambda found: found[0][::-1], line)[::-1].translate(_MIRRORED) for line in text.split("\n"))
    return "\n".join(lines)


def _is_utf8(content: bytes) -> bool:
    try:
        return b"\0" not in content and bool(content.decode("utf-8"))
    except UnicodeDecodeError:
        return False


def join_cut_lines(content: bytes) -> bytes:
    """Return text without the line breaks that relays put into long lines. The text must not have been encoded for transfer."""
    if len(content) < _CUT_LINE[0]:
        return content
    joined: list[bytes] = []
    goes_on = False
    for line in content.split(b"\n"):
        if goes_on and line.startswith(b" "):
            joined[-1] = joined[-1].removesuffix(b"\r") + line[1:]
        else:
            joined.append(line)
        goes_on = len(line.removesuffix(b"\r")) in _CUT_LINE
    return b"\n".join(joined)


def _fits(text: str, weight: int) -> bool:
    """Return whether more than `weight` characters beyond ASCII are sound for each that is not."""
    bad = text.count(_BAD)
    beyond = len(text) - len(text.encode("ascii", "ignore"))
    return beyond - bad > weight * bad


def _whole(text: str) -> str:
    """Return the text without halves of surrogate pairs, which UTF-7 and UTF-16 can spell, and no page and no JSON can hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
