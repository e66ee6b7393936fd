"""Mails as scanners and offices send them: a short text and a PDF of scanned pages in base64, of a given size."""

from __future__ import annotations

import base64
import random
import uuid
from dataclasses import dataclass

_PAGE = 100_000  # bytes of a scanned page
# With `fax.page = "auto"` the first only covers the document, and the second becomes a page before it.
COVERING = "Please see the attached document.\r\n"
ORDER = (
    "שלום דנה,\r\nנא לספק 12 קרטונים של נייר צילום עד יום חמישי בשעה 14:00.\r\n"
    "הכניסה מרחוב הרצל 17, קומה 2; יש לצלצל לפני ההגעה לטלפון 03-1234567.\r\n"
    "The invoice goes to our office in Haifa, under order number 4711.\r\n"
)


@dataclass(frozen=True, slots=True)
class MailKind:
    """Mails that differ only in their Message-ID, because mailbridge recognises a repeated one."""

    rest: bytes

    def head(self) -> bytes:
        """Return the Message-ID header of a new mail. `rest` follows it, up to the dot that ends the data."""
        return f"Message-ID: <{uuid.uuid4()}@bench.example>\r\n".encode()


def with_pdf(size: int, text: str = COVERING) -> MailKind:
    """Return mails of about `size` bytes with this text, whose attachment is a PDF of as many scanned pages as fit."""
    boundary = "=_bench_8f2a"
    head = (
        _headers("multipart/mixed; boundary=" + f'"{boundary}"')
        + f"--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}"
        + f'--{boundary}\r\nContent-Type: application/pdf; name="scan.pdf"\r\nContent-Transfer-Encoding: base64\r\n'
        + 'Content-Disposition: attachment; filename="scan.pdf"\r\n\r\n'
    ).encode()
    end = f"--{boundary}--\r\n.\r\n".encode()
    # 57 bytes make a line of 76 characters and its CR LF.
    content = pdf(max(600, (size - len(head) - len(end) - 60) * 57 // 78))
    return MailKind(head + base64.encodebytes(content).replace(b"\n", b"\r\n") + end)


def with_text(size: int) -> MailKind:
    """Return mails of about `size` bytes without a document, whose text mailbridge makes into a page."""
    lines = "".join(f"Line {number} of an order: twelve boxes of paper, please.\r\n" for number in range(size // 55))
    return MailKind((_headers("text/plain; charset=utf-8") + lines[: size - 300] + "\r\n.\r\n").encode())


def _headers(content_type: str) -> str:
    names = "From: Anna <anna@example.co.il>\r\nTo: <03-9876543@fax.local>\r\nSubject: Scan of today\r\n"
    return f"{names}Date: Sun, 04 Jan 2026 09:00:00 +0200\r\nMIME-Version: 1.0\r\nContent-Type: {content_type}\r\n\r\n"


def pdf(size: int) -> bytes:
    """Return a PDF of about `size` bytes: pages of grey images that do not compress, with a complete cross-reference table."""
    chance = random.Random(size)
    count = max(1, round(size / _PAGE))
    picture = max(16, size // count - 420)
    kids = " ".join(f"{3 * number + 3} 0 R" for number in range(count))
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", f"<</Type/Pages/Kids[{kids}]/Count {count}>>".encode()]
    for number in range(count):
        page = 3 * number + 3
        resources = f"/Resources<</XObject<</I {page + 2} 0 R>>>>/Contents {page + 1} 0 R"
        objects.append(f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]{resources}>>".encode())
        objects.append(_stream("", b"595 0 0 842 0 0 cm /I Do"))
        shape = f"/Type/XObject/Subtype/Image/Width 16/Height {picture // 16}/ColorSpace/DeviceGray/BitsPerComponent 8"
        objects.append(_stream(shape, chance.randbytes(picture // 16 * 16)))
    return _file(objects)


def _stream(entries: str, content: bytes) -> bytes:
    return f"<<{entries}/Length {len(content)}>>stream\n".encode() + content + b"\nendstream"


def _file(objects: list[bytes]) -> bytes:
    content, places = bytearray(b"%PDF-1.4\n"), []
    for number, body in enumerate(objects, 1):
        places.append(len(content))
        content += f"{number} 0 obj\n".encode() + body + b"\nendobj\n"
    start = len(content)
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    content += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}".encode()
    return bytes(content) + f"trailer<</Size {len(objects) + 1}/Root 1 0 R>>\nstartxref\n{start}\n%%EOF\n".encode()
