"""Writes mails as bytes: headers by RFC 2047, parts and multiparts by RFC 2045 and 2046, everything in 7 bits. Pure.

Python's own generator decodes, folds and re-encodes what it is given; a returned mail must stay as it was, byte for byte.
"""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Iterator, Sequence
from email.utils import parseaddr

CRLF = b"\r\n"
# Controls, and marks that turn the direction of the text around them.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]+")
_LINE = 76
_WORD_START, _WORD_END = "=?utf-8?b?", "?="
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]*", re.ASCII)
_TOKEN = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)


def clean(text: str) -> str:
    """Return a text in one line, without controls, marks of direction and halves of surrogate pairs."""
    return re.sub(" {2,}", " ", visible(text)).strip()


def visible(text: str) -> str:
    """Return a text in one line, with its blanks, but without what `clean` takes out."""
    return _CONTROLS.sub(" ", text).encode("utf-8", "replace").decode()


def header(name: str, text: str) -> bytes:
    """Return a header field of unstructured text, in encoded words of at most 75 characters where it needs them."""
    words = clean(text)
    value = _folded(words, len(name) + 2) if _is_plain(words) else _encoded(words, len(name) + 2)
    return f"{name}: {value}".encode() + CRLF


def address_header(name: str, address: str) -> bytes:
    """Return a header field of one mailbox, with or without a display name. Another than an ASCII address needs SMTPUTF8."""
    phrase, bare = parseaddr(address) if address.endswith(">") else ("", address)
    phrase, bare = clean(phrase), clean(bare)
    if not phrase:
        return f"{name}: <{bare}>".encode() + CRLF
    quoted = '"' + re.sub(r'([\\"])', r"\\\1", phrase) + '"' if _is_plain(phrase) else _encoded(phrase, len(name) + 2)
    return f"{name}: {quoted}\r\n <{bare}>".encode() + CRLF


def ids_header(name: str, ids: Sequence[str]) -> bytes:
    """Return a header field of message ids, each on a line of its own."""
    return f"{name}: ".encode() + b"\r\n ".join(one.encode() for one in ids) + CRLF


def _is_plain(text: str) -> bool:
    return text.isascii() and "=?" not in text and all(len(word) < _LINE - 16 for word in text.split(" "))


def _folded(text: str, used: int) -> str:
    lines, line = [], ""
    for word in text.split(" "):
        if line and used + len(line) + 1 + len(word) > _LINE:
            lines.append(line)
            line, used = word, 1
        else:
            line = f"{line} {word}" if line else word
    return "\r\n ".join([*lines, line])


def _encoded(text: str, used: int) -> str:
    words: list[str] = []
    chunk = b""
    for letter in _letters(text):
        room = (_LINE - (used if not words else 1) - len(_WORD_START) - len(_WORD_END)) // 4 * 3
        if chunk and len(chunk) + len(letter) > room:
            words.append(_word(chunk))
            chunk = b""
        chunk += letter
    return "\r\n ".join([*words, _word(chunk)])


def _word(chunk: bytes) -> str:
    return f"{_WORD_START}{base64.b64encode(chunk).decode()}{_WORD_END}"


def _letters(text: str) -> Iterator[bytes]:
    """Yield each letter with the marks that belong to it, at most as many bytes as fit into a word."""
    letter = ""
    for sign in text:
        is_mark = unicodedata.combining(sign) or sign in "\u200d\ufe0f"
        if letter and not (is_mark and len(letter.encode()) < 30):
            yield letter.encode()
            letter = ""
        letter += sign
    if letter:
        yield letter.encode()


def text_part(text: str, subtype: str = "plain") -> bytes:
    """Return a part of text with CRLF line ends: as it is where it is ASCII in short lines, otherwise in base64."""
    content = text.replace("\r\n", "\n").replace("\n", "\r\n").encode()
    if content.isascii() and all(len(line) <= 900 for line in content.split(CRLF)):
        return part(f"text/{subtype}; charset=utf-8", content)
    return base64_part(f"text/{subtype}; charset=utf-8", content)


def part(content_type: str, content: bytes, encoding: str = "7bit", *more: bytes) -> bytes:
    """Return a part with its header: content that is in this encoding already."""
    head = f"Content-Type: {content_type}\r\nContent-Transfer-Encoding: {encoding}\r\n".encode()
    return head + b"".join(more) + CRLF + content


def base64_part(content_type: str, content: bytes, *more: bytes) -> bytes:
    """Return a part with its content in base64."""
    encoded = base64.b64encode(content)
    lines = CRLF.join(encoded[start : start + _LINE] for start in range(0, len(encoded), _LINE))
    return part(content_type, lines + CRLF, "base64", *more)


def attachment(content_type: str, content: bytes, filename: str) -> bytes:
    """Return an attached file. A name that is not ASCII is written by RFC 2231."""
    stem, dot, suffix = clean(filename).replace("/", "-").replace("\\", "-").rpartition(".")
    name = f"{stem[:60]}{dot}{suffix[:60]}" or "document"
    plain = name if _FILE_NAME.fullmatch(name) else f"document.{suffix}" if _TOKEN.fullmatch(suffix) else "document"
    disposition = f'Content-Disposition: attachment; filename="{plain}"'
    if plain != name:
        percent = "".join(sign if _TOKEN.fullmatch(sign) else "".join(f"%{byte:02X}" for byte in sign.encode()) for sign in name)
        disposition = f"Content-Disposition: attachment;\r\n filename*=utf-8''{percent}"
    known = re.fullmatch(r"[A-Za-z0-9.+-]+/[A-Za-z0-9.+-]+", content_type)
    type_ = content_type if known else "application/octet-stream"
    return base64_part(f'{type_};\r\n name="{plain}"', content, f"{disposition}\r\n".encode())


def multipart(kind: str, parts: Sequence[bytes], boundary: str) -> bytes:
    """Return a multipart with its header. `kind` is its subtype, with its parameters."""
    while any(f"--{boundary}".encode() in one for one in parts):
        boundary += "_"
    mark = f"--{boundary}".encode()
    subtype, _, parameters = kind.partition(";")
    more = f";{parameters}" if parameters else ""
    head = f'Content-Type: multipart/{subtype}{more};\r\n boundary="{boundary}"\r\n\r\n'.encode()
    body = b"".join(mark + CRLF + one + CRLF for one in parts)
    return head + body + mark + b"--" + CRLF
