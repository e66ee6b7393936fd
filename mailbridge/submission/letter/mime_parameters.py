"""The parameters of a header field, such as `filename` (RFC 2045 section 5.1, RFC 2231), as programs really write them. Pure.

The standard library decodes each piece of a continued parameter alone, so that a letter cut between two pieces is lost. Here
the pieces are joined first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.errors import HeaderParseError
from email.header import decode_header
from functools import lru_cache

from mailbridge.submission.letter.charsets import decode_text

# Characters of a field that are looked at, and pieces of one parameter.
_MOST, _MOST_PIECES = 20_000, 200
_ATTRIBUTE = re.compile(r"([^\s*=;]{1,100})(?:\*(\d{1,3}))?(\*)?", re.ASCII)
# Up to a semicolon that is not inside quotes. Nothing in it is tried twice, so the time is proportional to the field.
_ITEM = re.compile(r'(?:[^";]++|"(?:[^"\\]++|\\.)*+(?:"|\\?$))++', re.DOTALL)
_COMMENT = re.compile(r"\([^()]{0,1000}\)")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_CHARSET = re.compile(r"([^']{0,40})'[^']{0,40}'(.*)", re.DOTALL)


def value_of(field: str) -> str:
    """Return what stands before the parameters, in lower case and without comments: `text/plain`, `attachment`, `base64`."""
    bare = field[:_MOST]
    bare = (_COMMENT.sub("", bare) if "(" in bare else bare).split(";")[0]
    return bare.strip(" \t\"'").lower()


def parameter(field: str, name: str) -> str | None:
    """Return a parameter's value, or None; RFC 2231's spelling wins over the plain one beside it, which is for old readers."""
    plain: str | None = None
    pieces: dict[int, tuple[str, bool]] = {}
    for found, value in _parameters(field[:_MOST]) if ";" in field else ():
        if found[1].lower() != name:
            continue
        if found[2] is None and not found[3]:
            plain = plain if plain is not None else value
        elif len(pieces) < _MOST_PIECES:
            pieces.setdefault(int(found[2] or 0), (value, bool(found[3])))
    if 0 in pieces:
        return decode_words(_joined(pieces))
    return None if plain is None else decode_words(plain)


@lru_cache(maxsize=16)  # several parameters of a field are asked for one after the other
def _parameters(field: str) -> tuple[tuple[re.Match[str], str], ...]:
    """Return the parameters of a field: the name as `_ATTRIBUTE` matched it, and the value."""
    found = ((_ATTRIBUTE.fullmatch(attribute), value) for attribute, value in _split(field))
    return tuple((match, value) for match, value in found if match is not None)


def _split(field: str) -> Iterator[tuple[str, str]]:
    """Yield the parameters of a field as attribute and value, unquoted."""
    # Most fields have no quotes, and splitting those at every semicolon is several times quicker.
    rest = field.partition(";")[2]
    for item in _ITEM.findall(rest) if '"' in rest else rest.split(";"):
        attribute, equals, value = item.partition("=")
        if equals:
            yield attribute.strip(), _unquoted(value.strip())


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return re.sub(r"\\(.)", r"\1", value[1:-1], flags=re.DOTALL)
    # Not in any standard, but some programs quote so.
    if len(value) >= 2 and value[0] == value[-1] == "'":
        return value[1:-1]
    return value.strip('"')


def _joined(pieces: dict[int, tuple[str, bool]]) -> str:
    """Join the pieces 0, 1, 2 … (RFC 2231 section 3); the charset of the first holds for all that are encoded (section 4)."""
    charset, text = "us-ascii", ""
    for number in range(len(pieces)):
        if number not in pieces:
            break
        value, encoded = pieces[number]
        if number == 0 and encoded and (found := _CHARSET.fullmatch(value)):
            charset, value = found[1] or charset, found[2]
        # An escape may be cut between two pieces, so it is decoded when all are joined.
        text += value if encoded else value.replace("%", "%25")
    content = _ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()), text.encode("utf-8", "replace"))
    return decode_text(content, charset)


def decode_words(value: str) -> str:
    """Return a header value with its encoded words decoded (RFC 2047); what cannot be decoded stays as it is."""
    if "=?" not in value:
        return value
    try:
        # decode_header returns text if nothing is encoded, and bytes in this codec beside encoded words.
        words = [
            word if isinstance(word, str) else decode_text(word, charset) if charset else word.decode("raw-unicode-escape")
            for word, charset in decode_header(value)
        ]
        return "".join(words).encode("utf-8", "replace").decode()
    except (LookupError, ValueError, HeaderParseError):
        return value
