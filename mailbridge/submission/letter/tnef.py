"""Read winmail.dat, in which Outlook packs the attachments and the text of a Rich Text mail (MS-OXTNEF). Pure.

The stream is hostile input. Every length is checked against what is left, and the numbers of attributes, properties, values and
nested messages are limited. Attachments are views of the input, without a copy.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from mailbridge.submission.letter.charsets import decode_text

# Section 2.1.1: the first four bytes of every stream, in their order in the file.
SIGNATURE: Final = b"\x78\x9f\x3e\x22"
# Attributes, properties and their values together. A mail with 100 attachments has fewer than 10,000.
MAX_STEPS: Final = 65_536
MAX_DEPTH: Final = 4  # of messages in messages
_MAX_NAME, _MAX_TEXT = 255, 2_000_000

# Attributes, section 2.1.3.1.
_CODE_PAGE, _BODY, _MESSAGE_PROPERTIES = 0x00069007, 0x0002800C, 0x00069003
_ATTACHMENT_BEGINS, _TITLE, _CONTENT, _ATTACHMENT_PROPERTIES = 0x00069002, 0x00018010, 0x0006800F, 0x00069005

# Properties, MS-OXPROPS.
_TEXT, _RTF, _HTML, _HTML_CODE_PAGE = 0x1000, 0x1009, 0x1013, 0x3FDE
_DATA_OBJECT, _FILENAME, _METHOD, _LONG_FILENAME = 0x3701, 0x3704, 0x3705, 0x3707
_MIME_TYPE, _CONTENT_ID, _HIDDEN = 0x370E, 0x3712, 0x7FFE
# How the data is attached (PidTagAttachMethod), and its older form in attAttachRenddata.
_METHOD_OLE, _TYPE_OLE = 6, 2

# Property types, MS-OXCDATA section 2.11.1: the bytes of a value of fixed size.
_FIXED: Final = {
    0x0001: 0,
    0x0002: 2,
    0x0003: 4,
    0x0004: 4,
    0x0005: 8,
    0x0006: 8,
    0x0007: 8,
    0x000A: 4,
    0x000B: 2,
    0x0014: 8,
    0x0040: 8,
    0x0048: 16,
}
_STRING8, _UNICODE, _OBJECT, _BINARY = 0x001E, 0x001F, 0x000D, 0x0102
_VARIABLE = (_STRING8, _UNICODE, _OBJECT, _BINARY)
_MULTIPLE = 0x1000
# IID_IMessage: the object is a message of its own, as a TNEF stream.
_MESSAGE = bytes.fromhex("0703020000000000c000000000000046")
_CODE_PAGES: Final = {65001: "utf-8", 28598: "iso8859-8", 38598: "iso8859-8", 20127: "ascii", 28591: "iso8859-1"}


class Malformed(ValueError):
    """The stream breaks the format or exceeds a limit."""


@dataclass(slots=True)
class Attachment:
    """One attached file. `content` is a view of the input; `content_type` is what the sender declared, or empty.

    `is_hidden` marks a picture that the text shows. `is_object` marks what another program embedded, and `content` is None for a
    link: neither is a file.
    """

    name: str = ""
    content: memoryview | None = None
    content_type: str = ""
    cid: str = ""
    is_hidden: bool = False
    is_object: bool = False
    is_message: bool = False


@dataclass(slots=True)
class Message:
    """What one message holds. `rtf` is compressed. `messages` are those attached to it; their files are in `attachments` too."""

    attachments: list[Attachment] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    text: str = ""
    html: str = ""
    rtf: memoryview = field(default_factory=lambda: memoryview(b""))
    encoding: str = "cp1252"


class _Steps:
    """Counts what was read. Raises Malformed beyond the limit."""

    def __init__(self) -> None:
        self._left = MAX_STEPS

    def take(self, count: int = 1) -> None:
        self._left -= count
        if self._left < 0:
            raise Malformed("it has too many parts")


def read(stream: bytes | memoryview) -> Message:
    """Return the message in a TNEF stream. Raises Malformed."""
    try:
        return _message(memoryview(stream), 0, _Steps())
    except (struct.error, IndexError, OverflowError):
        raise Malformed("it is cut off") from None


def _message(stream: memoryview, depth: int, steps: _Steps) -> Message:
    if depth > MAX_DEPTH:
        raise Malformed(f"it holds messages in messages more than {MAX_DEPTH} deep")
    message, attachment = Message(), Attachment()
    for attribute, value in _attributes(stream, steps):
        if attribute == _CODE_PAGE:
            message.encoding = _encoding(struct.unpack_from("<I", value)[0])
        elif attribute == _BODY:
            message.text = message.text or _string(value, message.encoding)
        elif attribute == _MESSAGE_PROPERTIES:
            _read_message_properties(message, value, steps)
        elif attribute == _ATTACHMENT_BEGINS:
            attachment = Attachment(is_object=struct.unpack_from("<H", value)[0] == _TYPE_OLE)
            message.attachments.append(attachment)
        elif attribute == _TITLE:
            attachment.name = attachment.name or _string(value, message.encoding)[:_MAX_NAME]
        elif attribute == _CONTENT:
            attachment.content = value
        elif attribute == _ATTACHMENT_PROPERTIES:
            _read_attachment_properties(message, attachment, value, depth, steps)
    message.attachments = [one for one in message.attachments if not one.is_message]
    return message


def _attributes(stream: memoryview, steps: _Steps) -> Iterator[tuple[int, memoryview]]:
    """Yield the attributes of a stream (section 2.1.3). Checksums are not checked: some programs write wrong ones."""
    if bytes(stream[:4]) != SIGNATURE:
        raise Malformed("it is not winmail.dat")
    at = 6
    # Some programs pad the end; nothing of use is shorter than the head of an attribute.
    while at + 9 <= len(stream):
        level, attribute, length = struct.unpack_from("<BII", stream, at)
        at += 9
        steps.take()
        if level not in (1, 2):
            return
        if length > len(stream) - at:
            raise Malformed("it is cut off")
        yield attribute, stream[at : at + length]
        at += length + 2


def _read_message_properties(message: Message, value: memoryview, steps: _Steps) -> None:
    html, html_encoding = memoryview(b""), ""
    for number, kind, content in _properties(value, steps):
        if number == _TEXT and kind in (_STRING8, _UNICODE):
            message.text = _value(kind, content, message.encoding) or message.text
        elif number == _HTML and kind in (_STRING8, _UNICODE):
            message.html = _value(kind, content, message.encoding)
        elif number == _HTML and kind == _BINARY:
            html = content
        elif number == _HTML_CODE_PAGE and len(content) == 4:
            html_encoding = _encoding(struct.unpack("<I", content)[0])
        elif number == _RTF and kind == _BINARY:
            message.rtf = content
    message.html = message.html or decode_text(bytes(html[:_MAX_TEXT]), html_encoding or message.encoding)


def _read_attachment_properties(message: Message, attachment: Attachment, value: memoryview, depth: int, steps: _Steps) -> None:
    for number, kind, content in _properties(value, steps):
        if number == _LONG_FILENAME:
            attachment.name = _value(kind, content, message.encoding)[:_MAX_NAME] or attachment.name
        elif number == _FILENAME:
            attachment.name = attachment.name or _value(kind, content, message.encoding)[:_MAX_NAME]
        elif number == _MIME_TYPE:
            attachment.content_type = _value(kind, content, message.encoding)[:_MAX_NAME].lower()
        elif number == _CONTENT_ID:
            attachment.cid = _value(kind, content, message.encoding)[:_MAX_NAME].strip("<>")
        elif number == _HIDDEN:
            attachment.is_hidden = any(content)
        elif number == _METHOD:
            attachment.is_object = attachment.is_object or content[:1] == bytes([_METHOD_OLE])
        elif number == _DATA_OBJECT and kind == _OBJECT and content[:16] == _MESSAGE:
            inner = _message(content[16:], depth + 1, steps)
            attachment.is_message = True
            message.messages.append(inner)
            message.attachments += inner.attachments
        elif number == _DATA_OBJECT and kind == _OBJECT:
            attachment.is_object = True
        elif number == _DATA_OBJECT and kind == _BINARY and not attachment.content:
            attachment.content = content


def _properties(value: memoryview, steps: _Steps) -> Iterator[tuple[int, int, memoryview]]:
    """Yield the id, type and first value of each property (section 2.1.3.4)."""
    (count,) = struct.unpack_from("<I", value)
    steps.take(count)
    at = 4
    for _ in range(count):
        kind, number = struct.unpack_from("<HH", value, at)
        at += 4
        if number >= 0x8000:
            at = _after_name(value, at)
        first, at = _first_value(value, at, kind & ~_MULTIPLE, bool(kind & _MULTIPLE), steps)
        yield number, kind & ~_MULTIPLE, first


def _after_name(value: memoryview, at: int) -> int:
    """Return where a named property's value begins, behind its GUID and its number or name."""
    is_text, number_or_length = struct.unpack_from("<II", value, at + 16)
    return at + 24 + (_padded(number_or_length) if is_text else 0)


def _first_value(value: memoryview, at: int, kind: int, multiple: bool, steps: _Steps) -> tuple[memoryview, int]:
    """Return the first value of a property, and where the next property begins."""
    count = 1
    if multiple or kind in _VARIABLE:
        (count,) = struct.unpack_from("<I", value, at)
        at += 4
    if kind not in _VARIABLE:
        if kind not in _FIXED:
            raise Malformed("it has a property of an unknown type")
        size = _FIXED[kind]
        end = at + _padded(size * count)
        if end > len(value):
            raise Malformed("it is cut off")
        return value[at : at + size], end
    steps.take(count)
    first = value[:0]
    for number in range(count):
        (size,) = struct.unpack_from("<I", value, at)
        at += 4
        if size > len(value) - at:
            raise Malformed("it is cut off")
        if number == 0:
            first = value[at : at + size]
        at += _padded(size)
    return first, at


def _padded(size: int) -> int:
    return (size + 3) & ~3


def _value(kind: int, content: memoryview, encoding: str) -> str:
    return _string(content, "utf-16-le" if kind == _UNICODE else encoding)


def _string(content: memoryview, encoding: str) -> str:
    return decode_text(bytes(content[:_MAX_TEXT]), encoding).split("\0", 1)[0]


def _encoding(code_page: int) -> str:
    return _CODE_PAGES.get(code_page, f"cp{code_page}")
