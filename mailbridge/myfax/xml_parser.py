"""Parse MyFax's XML as it really is: tags with blanks, stray bytes before them, a wrong encoding. Pure.

MyFax's document prints tags with blanks inside (`< PRICE>`, `</ USER_ID>`), so tags are normalised before parsing. A truncated
answer is never completed: a lost answer must not look like a whole one.
"""

from __future__ import annotations

import io
import re
from typing import Final
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import iterparse

from mailbridge.errors import MyFaxError

# In bytes; no answer of the API comes near it.
MAX_ANSWER: Final = 256 * 1024
MAX_DEPTH: Final = 16
_MAX_TEXT = 1000

_DECLARATION = re.compile(r"<\?xml[^>]{0,200}\?>")
_DECLARED_ENCODING = re.compile(rb"""<\?xml[^>]{0,200}?encoding\s*=\s*["']([\w.-]{1,40})["']""")
# Others are not used by MyFax, and some take long or raise warnings when an attacker declares them (punycode, unicode_escape).
_ENCODINGS = frozenset({"windows-1255", "cp1255", "iso-8859-8", "iso-8859-8-i", "windows-1252", "iso-8859-1"})
# Possessive quantifiers, so that a long run of blanks is read once, without backtracking.
_TAG = re.compile(r"<\s*+(/?)\s*+([A-Za-z_][\w.-]*+)\s*+(/?)\s*+>")
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,9}", re.ASCII)
# Replacing these cannot hide a truncation: a truncated answer still lacks its last tags.
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_BARE_AMPERSAND = re.compile(r"&(?!#?[A-Za-z0-9]{1,31};)")


class Unreadable(MyFaxError):
    """An answer that is not the XML that MyFax documents: HTML, truncated, too long, too deep, or with a DTD."""


def parse_response(body: bytes) -> tuple[Element, int, str]:
    """Return the RESPONSE element, its RESPONSE_CODE, and its RESPONSE_TEXT of at most 1000 characters. Raises Unreadable."""
    root = _parse(_normalise(_decode(body)))
    if root.tag != "RESPONSE":
        raise Unreadable("the answer is not a RESPONSE")
    code = number(root, "RESPONSE_CODE")
    if code is None:
        raise Unreadable("the answer has no RESPONSE_CODE")
    return root, code, (field(root, "RESPONSE_TEXT") or "")[:_MAX_TEXT]


def field(parent: Element, name: str) -> str | None:
    """Return the text of a child without the white space around it, None if it is missing or empty. Raises Unreadable for two."""
    values = {(child.text or "").strip() for child in parent if child.tag == name} - {""}
    if len(values) > 1:
        raise Unreadable(f"the answer has two different values of {name}")
    return values.pop() if values else None


def number(parent: Element, name: str) -> int | None:
    """Return the whole number in a child, None if there is none. Raises Unreadable as `field`."""
    value = field(parent, name)
    return int(value) if value is not None and _WHOLE_NUMBER.fullmatch(value) else None


def _decode(body: bytes) -> str:
    if len(body) > MAX_ANSWER:
        raise Unreadable(f"the answer is longer than {MAX_ANSWER} bytes")
    if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return body.decode("utf-16", "replace")
    try:
        return body.decode("utf-8-sig")
    except ValueError:
        declared = _DECLARED_ENCODING.search(body[:1024])
    # MyFax sends Hebrew in windows-1255 under a UTF-8 declaration, so that is the guess for everything that is not UTF-8.
    encoding = declared[1].decode("ascii", "replace").lower() if declared else ""
    return body.decode(encoding.removesuffix("-i") if encoding in _ENCODINGS else "windows-1255", "replace")


def _normalise(text: str) -> str:
    text = text.lstrip("\ufeff \t\r\n")
    start = text[:200].lower()
    if start.startswith(("<!doctype", "<html", "<head", "<body")):
        raise Unreadable("the answer is an HTML page or has a DTD")
    if not start.startswith("<"):
        raise Unreadable("the answer is not XML")
    # The text is already decoded, so its declaration could only mislead the parser.
    declaration = _DECLARATION.match(text)
    text = text[declaration.end() :] if declaration else text
    text = _NOT_XML.sub("\ufffd", text)
    if "<![CDATA[" not in text:  # inside CDATA an ampersand needs no escape
        text = _BARE_AMPERSAND.sub("&amp;", text)
    return _TAG.sub(r"<\1\2\3>", text).strip()


def _parse(text: str) -> Element:
    root: Element | None = None
    depth = 0
    try:
        for event, element in iterparse(io.BytesIO(text.encode()), events=("start", "end"), forbid_dtd=True):
            root = element if root is None else root
            depth += 1 if event == "start" else -1
            if depth > MAX_DEPTH:
                raise Unreadable("the answer is nested too deeply")
    except DefusedXmlException:
        raise Unreadable("the answer has a DTD or an entity") from None
    except (ParseError, ValueError, LookupError):
        raise Unreadable("the answer is truncated or not well-formed") from None
    if root is None:
        raise Unreadable("the answer is empty")
    return root
