"""The kind of a file by its content alone. Pure."""

from __future__ import annotations

import io
import re
import zipfile
from typing import Final

_SIGNATURES: Final = (
    (b"%PDF-", "pdf"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"{\\rtf", "rtf"),
    (b"%!PS", "postscript"),
    (b"\xc5\xd0\xd3\xc6", "postscript"),
    (b"\x78\x9f\x3e\x22", "tnef"),
    (b"\x00\x05\x16\x07", "appledouble"),
    (b"\x00\x05\x16\x00", "applesingle"),
    (b"Rar!\x1a\x07", "archive"),
    (b"7z\xbc\xaf\x27\x1c", "archive"),
    (b"\x1f\x8b\x08", "archive"),
    (b"(This file must be converted with BinHex", "binhex"),
    (b"-----BEGIN PGP MESSAGE-----", "encrypted"),
)
_OFFICE_ZIPS: Final = {
    "word/document.xml": "docx",
    "xl/workbook.xml": "xlsx",
    "ppt/presentation.xml": "presentation",
}
_MIME_TYPES: Final = {"application/vnd.oasis.opendocument.text": "odt"}
# A file of Office is known by the streams in it. What is embedded in it has streams too.
_OFFICE_STREAMS: Final = {
    "__nameid_version1.0": "message",
    "EncryptedPackage": "locked",
    "WordDocument": "doc",
    "Workbook": "xls",
    "Book": "xls",
    "PowerPoint Document": "presentation",
}
# Bytes of a ZIP's central directory that are read: a file of Office has a few hundred entries of some 80 bytes.
_MAX_DIRECTORY: Final = 2_000_000
_ZIP_TAIL: Final = 65_536 + 100  # bytes at the end of a ZIP in which its last records begin
_HEIC: Final = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_HTML: Final = re.compile(
    rb"(?:\xef\xbb\xbf)?\s{0,1000}(?:<\?xml[^>]{0,200}>\s{0,100})?(?:<!--.{0,2000}?-->\s{0,100})?"
    rb"<(?:!doctype\s{1,10}html|html|head|body|table|meta|div|p)\b",
    re.IGNORECASE | re.DOTALL,
)


def kind_of_content(content: bytes | memoryview, declared: str | None = None) -> str | None:
    """Return what a file is: a kind that can be faxed, `txt` for any text, another kind that is known, or None.

    `locked` is an encrypted file of Office, `presentation` one of PowerPoint, `message` a mail that Outlook saved. `declared`
    decides for a file of Office with another one embedded.
    """
    head = bytes(content[:65536])
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIC:
        return "heic"
    if head[:2] == b"BM" and head[14:18] in (b"\x28\0\0\0", b"\x6c\0\0\0", b"\x7c\0\0\0", b"\x0c\0\0\0"):
        return "bmp"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _kind_of_zip(content)
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return _kind_of_office(bytes(content), declared)
    if head[257:262] == b"ustar":
        return "archive"
    if _is_pdf_behind_junk(head):
        return "pdf"
    if not _is_text(head):
        return None
    return "html" if _HTML.match(head) else "txt"


def _is_pdf_behind_junk(head: bytes) -> bool:
    """Return whether a PDF begins in the first kilobyte: readers accept that, and some scanners rely on it.

    Text may mention the signature within a line. An archive may have a whole PDF there, and is recognized before.
    """
    at = head[:1024].find(b"%PDF-")
    return at >= 0 and (head[at - 1 : at] in (b"\r", b"\n") or not _is_text(head))


def _kind_of_zip(content: bytes | memoryview) -> str | None:
    if _directory_size(bytes(content[-_ZIP_TAIL:])) > _MAX_DIRECTORY:
        return "archive"
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = set(archive.namelist())
            for name, kind in _OFFICE_ZIPS.items():
                if name in names:
                    return kind
            if "mimetype" not in names:
                return "archive"
            if archive.getinfo("mimetype").file_size < 200:
                return _MIME_TYPES.get(archive.read("mimetype").decode("ascii", "replace").strip())
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, ValueError):
        return None
    return None


def _directory_size(tail: bytes) -> int:
    """Return how many bytes the entries of a ZIP take, by its end (APPNOTE.TXT 4.3.14 to 4.3.16); 0 if it has no end."""
    at = tail.rfind(b"PK\x05\x06")
    if at < 0:
        return 0
    if tail[max(0, at - 20) : at].startswith(b"PK\x06\x07"):
        return int.from_bytes(tail[max(0, at - 76) :][40:48], "little")
    return int.from_bytes(tail[at + 12 : at + 16], "little")


def _kind_of_office(content: bytes, declared: str | None) -> str | None:
    kinds = [kind for stream, kind in _OFFICE_STREAMS.items() if (stream + "\0").encode("utf-16-le") in content]
    if declared in kinds and not {"message", "locked"} & set(kinds):
        return declared
    return kinds[0] if kinds else None


def _is_text(head: bytes) -> bool:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    # DOS ends a text with 0x1A, and some accounting programs still do.
    return not any(byte < 32 and byte not in b"\t\n\v\f\r\x1b" for byte in set(head.rstrip(b"\x1a")))
