"""Mails for the tests of letters, the files in them, and how a test reads one."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from email.message import EmailMessage
from pathlib import Path

import pytest
from PIL import Image

from mailbridge.errors import Refused
from mailbridge.page import text_page as page
from mailbridge.page.text_page import render
from mailbridge.submission.letter.letter import Letter
from mailbridge.submission.letter.parser import read_letter

PDF = render("a document")[0]


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "application/vnd.oasis.opendocument.text" if name == "mimetype" else "<x/>")
    return buffer.getvalue()


def ole(*streams: str) -> bytes:
    """Return what a file of Office with these streams begins with."""
    return b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"".join(f"{stream}\0".encode("utf-16-le") for stream in streams)


def picture(kind: str, width: int = 400, height: int = 400) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((width, height), 90).save(buffer, kind)
    return buffer.getvalue()


def black_and_white(kind: str, width: int = 1728, height: int = 2200) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (width, height), 1).save(buffer, kind, **({"compression": "group4"} if kind == "TIFF" else {}))
    return buffer.getvalue()


def bomb() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))

    header = struct.pack("!IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def pdf_of(pages: int, trailer: str = "") -> bytes:
    kids = " ".join("3 0 R" for _ in range(pages))
    body = [
        "<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Count {pages}/Kids[{kids}]>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>",
    ]
    out, at = "%PDF-1.4\n", []
    for number, content in enumerate(body, 1):
        at.append(len(out))
        out += f"{number} 0 obj{content}endobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in at)
    end = f"trailer<</Size 4/Root 1 0 R{trailer}>>\nstartxref\n{len(out)}\n%%EOF"
    return f"{out}xref\n0 4\n0000000000 65535 f \n{table}{end}".encode()


LOCK = f"/ID[<{'00' * 16}><{'00' * 16}>]/Encrypt<</Filter/Standard/V 1/R 2/P -4/O<{'11' * 32}>/U<{'22' * 32}>>>"


def mail(text: str = "", *files: tuple[str, str, bytes], **headers: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Office <office@example.co.il>"
    message["Subject"] = "נושא"
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_content(text)
    for name, content_type, content in files:
        maintype, _, subtype = content_type.partition("/")
        message.add_attachment(content, maintype=maintype, subtype=subtype, filename=name)
    return message


def read(tmp_path: Path, message: EmailMessage | bytes, mode: str = "auto") -> Letter:
    (tmp_path / "mail").mkdir(exist_ok=True)
    raw = message if isinstance(message, bytes) else message.as_bytes()
    (tmp_path / "mail" / "m.eml").write_bytes(raw)
    return read_letter(tmp_path / "mail" / "m.eml", "mail/m.eml", mode)


def refused(tmp_path: Path, message: EmailMessage | bytes) -> str:
    with pytest.raises(Refused) as caught:
        read(tmp_path, message)
    return caught.value.reply


def read_with_text(tmp_path: Path, raw: bytes, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], str]:
    """Return the names of a mail's documents, and the text of its page."""
    texts, render = [""], page.render

    def record(content: str, *head: str, most_pages: int | None = None) -> tuple[bytes, int]:
        texts.append(content)
        return render(content, *head, most_pages=most_pages)

    monkeypatch.setattr(page, "render", record)
    return [document.name for document in read(tmp_path, raw).documents], texts[-1]
