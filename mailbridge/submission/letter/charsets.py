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
    if declared.startswith(_SHIFTED) or (declared.startswith(_WIDE) and not _is_utf8(content)):
        return _whole(content.decode(declared, "replace"))
    if content.isascii():
        return content.decode("ascii")
    unicode = _CUT_LETTER.sub(rb"\1", content).decode("utf-8", "replace")
    if _fits(unicode, 1 if declared == "utf-8" else 4):
        return unicode
    if declared in _HEBREW_NAMES:
        return codecs.charmap_decode(content, "replace", _HEBREW)[0]
    if declared and declared not in _VAGUE and declared != "utf-8":
        text = content.decode(declared, "replace")
        if _fits(text, 1):
            return _whole(text)
    is_western = declared in _WESTERN_NAMES or _ACCENT.search(content) is not None
    if is_western and not _HEBREW_WORD.search(content):
        return content.decode("cp1252", "replace")
    return codecs.charmap_decode(content, "replace", _HEBREW)[0]


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
