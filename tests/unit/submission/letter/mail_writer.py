"""Writes mails part by part, as programs do it, for tests."""

from __future__ import annotations

import base64
import binascii

HEAD = b"From: Dana <dana@office.example>\nSubject: s\nMIME-Version: 1.0\n"
ORDER = "Please send 20 boxes of paper to our new address, Herzl 7, until Thursday.\n"


def part(headers: str, content: bytes | str, encoding: str = "base64") -> bytes:
    raw = content.encode() if isinstance(content, str) else content
    body = base64.encodebytes(raw) if encoding == "base64" else binascii.b2a_qp(raw) if encoding == "quoted-printable" else raw
    return f"{headers}\nContent-Transfer-Encoding: {encoding}\n\n".encode() + body


def multipart(kind: str, *parts: bytes, boundary: str = "b1", head: bytes = b"") -> bytes:
    lines = b"".join(f"\n--{boundary}\n".encode() + each for each in parts)
    return head + f"Content-Type: multipart/{kind}; boundary={boundary}\n".encode() + lines + f"\n--{boundary}--\n".encode()


def mixed(*parts: bytes) -> bytes:
    return multipart("mixed", *parts, head=HEAD)


def text(content: str, more: str = "") -> bytes:
    return part(f"Content-Type: text/plain; charset=utf-8{more}", content, "8bit")


def html(content: str, more: str = "") -> bytes:
    return part(f"Content-Type: text/html; charset=utf-8{more}", content, "8bit")


def attached(name: str, content: bytes, content_type: str = "application/octet-stream", disposition: str = "attachment") -> bytes:
    return part(f'Content-Type: {content_type}\nContent-Disposition: {disposition}; filename="{name}"', content)


def shown(content: bytes, content_type: str, cid: str, name: str = "image001") -> bytes:
    return part(f'Content-Type: {content_type}\nContent-Disposition: inline; filename="{name}"\nContent-ID: <{cid}>', content)


def uuencoded(name: str, content: bytes) -> str:
    lines = "".join(binascii.b2a_uu(content[at : at + 45]).decode() for at in range(0, len(content), 45))
    return f"begin 644 {name}\n{lines}`\nend\n"
