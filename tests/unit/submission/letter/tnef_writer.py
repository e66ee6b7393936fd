"""Writes winmail.dat as Outlook does (MS-OXTNEF), for tests."""

from __future__ import annotations

import struct

IID_MESSAGE = bytes.fromhex("0703020000000000c000000000000046")
IID_STORAGE = bytes.fromhex("0b00000000000000c000000000000046")

LONG, BOOLEAN, OBJECT, STRING8, UNICODE, BINARY = 0x0003, 0x000B, 0x000D, 0x001E, 0x001F, 0x0102


def stream(*attributes: bytes, code_page: int = 1255) -> bytes:
    """Return a TNEF stream of attributes."""
    return b"\x78\x9f\x3e\x22\x01\x00" + attribute(0x00069007, struct.pack("<II", code_page, 0)) + b"".join(attributes)


def attribute(number: int, value: bytes, level: int = 1) -> bytes:
    return struct.pack("<BII", level, number, len(value)) + value + struct.pack("<H", sum(value) & 0xFFFF)


def properties(*written: bytes) -> bytes:
    return struct.pack("<I", len(written)) + b"".join(written)


def fixed(number: int, kind: int, value: int) -> bytes:
    return struct.pack("<HHI", kind, number, value)


def variable(number: int, kind: int, *values: bytes) -> bytes:
    """Return a property of one value, or of several."""
    several = len(values) != 1
    written = b"".join(struct.pack("<I", len(value)) + value + bytes(-len(value) % 4) for value in values)
    return struct.pack("<HHI", kind | (0x1000 if several else 0), number, len(values)) + written


def named(number: int, name: str, kind: int, value: int) -> bytes:
    """Return a property that is known by a name of its own."""
    raw = name.encode("utf-16-le") + b"\0\0"
    written = struct.pack("<II", 1, len(raw)) + raw + bytes(-len(raw) % 4)
    return struct.pack("<HH", kind, number) + bytes(16) + written + struct.pack("<I", value)


def text(value: str) -> bytes:
    """Return the plain text of a message."""
    return attribute(0x0002800C, value.encode("cp1255") + b"\0")


def message(*written: bytes) -> bytes:
    """Return the properties of a message."""
    return attribute(0x00069003, properties(*written))


def attachment(short_name: str, content: bytes | None, *written: bytes, is_object: bool = False) -> bytes:
    """Return an attachment: the attributes of Outlook 97, and the properties of today."""
    begin = attribute(0x00069002, struct.pack("<HIHHI", 2 if is_object else 1, 0, 0, 0, 0), 2)
    title = attribute(0x00018010, short_name.encode("cp1255") + b"\0", 2)
    data = b"" if content is None else attribute(0x0006800F, content, 2)
    return begin + title + data + (attribute(0x00069005, properties(*written), 2) if written else b"")


def long_name(name: str) -> bytes:
    return variable(0x3707, UNICODE, name.encode("utf-16-le") + b"\0\0")


def embedded(inner: bytes) -> bytes:
    """Return the property with a message that is attached."""
    return variable(0x3701, OBJECT, IID_MESSAGE + inner)


def ole_object(content: bytes) -> bytes:
    """Return the property with an object that another program embedded."""
    return variable(0x3701, OBJECT, IID_STORAGE + content)


HIDDEN = fixed(0x7FFE, BOOLEAN, 1)


def rtf(source: str) -> bytes:
    """Return Rich Text in the compressed form of Outlook (MS-OXRTFCP), all of it as literals."""
    raw = source.encode("ascii")
    packed = b"".join(b"\0" + raw[at : at + 8] for at in range(0, len(raw), 8))
    return struct.pack("<II4sI", len(packed) + 12, len(raw), b"LZFu", 0) + packed
