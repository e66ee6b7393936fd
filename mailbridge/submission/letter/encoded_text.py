"""Text that is not meant to be read: the source of a mail, or a file written in letters. It is never faxed. Pure.

Whatever the reason why a mail was not understood, its parts would be faxed as pages of letters. This is the last check before.
"""

from __future__ import annotations

import re
from typing import Final

_BINHEX: Final = re.compile(r"^\(This file must be converted with BinHex", re.MULTILINE)
_YENC: Final = re.compile(r"^=ybegin ", re.MULTILINE)
_PGP: Final = re.compile(r"^-----BEGIN PGP MESSAGE-----", re.MULTILINE)
_HEADER: Final = re.compile(
    r"^Content-Transfer-Encoding[ \t]*:[ \t]*[\"']?(?:base64|quoted-printable|7bit|8bit|binary)", re.MULTILINE | re.IGNORECASE
)
# Four whole lines, or one that never ends. Addresses of web pages are long too, but have other characters.
_BASE64_LINES: Final = re.compile(r"(?:^[ \t]*[A-Za-z0-9+/]{60,}={0,2}[ \t]*$\n?){4}", re.MULTILINE)
_BASE64_LINE: Final = re.compile(r"(?<![^\s\"'(<>,;])[A-Za-z0-9+/]{1000,}")
_BASE64_BYTES: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/= \t\r\n"
_UU_LINES: Final = re.compile(r"(?:^M[ -`]{60}$\n?){4}", re.MULTILINE)
_BINHEX_LINES: Final = re.compile(r"(?:^:?[!-,0-9@A-NP-VX-Z\[`a-fh-mp-r\-]{64}$\n?){4}", re.MULTILINE)
_QUOTED_PRINTABLE: Final = re.compile(r"(?:=[0-9A-F]{2}){6,}")
_MOST_QUOTED_PRINTABLE: Final = 5


def find_encoded(text: str) -> str | None:
    """Return what a text holds that nobody can read, for a reply; None for a text to read.

    `text` has plain line ends.
    """
    if _PGP.search(text):
        return "an encrypted message (PGP)"
    if _BINHEX.search(text) or _has_letters(_BINHEX_LINES.search(text)):
        return "a file packed with BinHex"
    if _YENC.search(text):
        return "a file packed with yEnc"
    if _HEADER.search(text):
        return "the source of a mail"
    if _has_letters(_BASE64_LINES.search(text)) or _has_letters(_BASE64_LINE.search(text)):
        return "a file encoded in base64"
    if _UU_LINES.search(text):
        return "a file packed with uuencode"
    if len(_QUOTED_PRINTABLE.findall(text)) > _MOST_QUOTED_PRINTABLE:
        return "text encoded in quoted-printable"
    return None


def is_base64(content: bytes) -> bool:
    """Return whether all of a file is base64, whatever its header says."""
    return not content.translate(None, _BASE64_BYTES) and b"\n" in content.strip()


def _has_letters(found: re.Match[str] | None) -> bool:
    """Return whether a match has many different characters: a row of one is a rule."""
    return found is not None and len(set(found[0])) > 15
