"""A fax that was written in the console, as the mail that a mail client would have sent."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.header import Header
from email.utils import format_datetime
from typing import BinaryIO, Final
from urllib.parse import quote

import pybase64

from mailbridge.errors import Refused

_CHUNK: Final = 57 * 1024  # bytes; each line of base64 has 57
_TYPE: Final = re.compile(r"[A-Za-z0-9][\w.+-]{0,60}/[A-Za-z0-9][\w.+-]{0,100}", re.ASCII)
Write = Callable[[bytes], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file that was chosen."""

    name: str
    content_type: str
    file: BinaryIO


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """What a person wrote and chose. Without text, the fax has no page of it."""

    sender: str  # an address in ASCII
    to: tuple[str, ...]  # as written
    subject: str
    text: str
    files: Sequence[Attachment]
    account: str | None = None  # that sends it; None is the user's own
    send_at: datetime | None = None  # not before this time; None is at once


def write_mail(composition: Composition, hostname: str, now: datetime, most: int, write: Write) -> None:
    """Write the mail, of at most so many bytes. Raises Refused if it is larger."""
    written = 0
    for piece in _pieces(composition, hostname, now):
        written += len(piece)
        if written > most:
            raise Refused(f"552 5.3.4 The files are larger than the limit of {most} bytes; send them in several faxes")
        write(piece)


def _pieces(composition: Composition, hostname: str, now: datetime) -> Iterable[bytes]:
    boundary = f"part-{secrets.token_hex(16)}"
    page = "always" if composition.text.strip() else "never"
    account = f"X-Mailbridge-Account: {_one_line(composition.account)}\r\n" if composition.account else ""
    send_at = f"X-Mailbridge-Send-At: {composition.send_at.isoformat()}\r\n" if composition.send_at else ""
    yield (
        f"From: {composition.sender}\r\nTo: {_encoded(', '.join(composition.to))}\r\nSubject: {_encoded(composition.subject)}\r\n"
        f"Date: {format_datetime(now)}\r\nMessage-ID: <{secrets.token_hex(16)}@{hostname}>\r\nX-Mailbridge-Page: {page}\r\n"
        f"{account}{send_at}"
        f'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="{boundary}"\r\n\r\n'
    ).encode()
    yield f"--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n".encode()
    yield pybase64.encodebytes(composition.text.encode())
    for one in composition.files:
        yield f"--{boundary}\r\n{_part_head(one)}\r\n".encode()
        while chunk := one.file.read(_CHUNK):
            yield pybase64.encodebytes(chunk)
    yield f"--{boundary}--\r\n".encode()


def _part_head(attachment: Attachment) -> str:
    kind = attachment.content_type if _TYPE.fullmatch(attachment.content_type) else "application/octet-stream"
    name = quote(_one_line(attachment.name)[:200], safe="")
    head = f"Content-Type: {kind}\r\nContent-Disposition: attachment; filename*=UTF-8''{name}\r\n"
    return f"{head}Content-Transfer-Encoding: base64\r\n"


def _encoded(text: str) -> str:
    return Header(_one_line(text), "utf-8", maxlinelen=70).encode(linesep="\r\n")


def _one_line(text: str) -> str:
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
