"""Types of documents that MyFax can fax, and how a file's type is found: by its name, its declared type, or its content."""

from __future__ import annotations

import io
import zipfile

TYPES = {
    "pdf": "application/pdf",
    "tiff": "image/tiff",
    "jpeg": "image/jpeg",
    "png": "image/png",
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "odt": "application/vnd.oasis.opendocument.text",
    "txt": "text/plain",
    "html": "text/html",
}
EXTENSIONS = {content_type: f".{kind}" for kind, content_type in TYPES.items()}
_BY_EXTENSION = {kind: kind for kind in TYPES} | {"jpg": "jpeg", "jpe": "jpeg", "jfif": "jpeg", "tif": "tiff", "htm": "html"}
_BY_TYPE = {content_type: kind for kind, content_type in TYPES.items()} | {
    "application/x-pdf": "pdf",
    "image/jpg": "jpeg",
    "image/pjpeg": "jpeg",
    "image/x-png": "png",
    "image/tif": "tiff",
    "image/x-tiff": "tiff",
    "application/xhtml+xml": "html",
}
_SIGNATURES = (
    (b"%PDF-", "pdf"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
)


def declared_kind(name: str, content_type: str) -> str | None:
    """Return the kind that a file's known extension declares, else its content type; None where neither is known."""
    extension = name.rpartition(".")[2].lower() if "." in name else ""
    if extension in _BY_EXTENSION:
        return _BY_EXTENSION[extension]
    return _BY_TYPE.get(content_type) if not extension or content_type not in ("text/plain", "text/html") else None


def kind_of_content(content: bytes) -> str | None:
    """Return the kind of a file by its content: `txt` for any text, `locked` for an encrypted one of Office, None if unknown."""
    for signature, kind in _SIGNATURES:
        if content.startswith(signature):
            return kind
    # PDF readers accept the signature anywhere in the first kilobyte, and some scanners rely on that.
    if b"%PDF-" in content[:1024]:
        return "pdf"
    if content.startswith(b"PK\x03\x04"):
        return _office_zip(content)
    if content.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return _office_ole(content)
    return "txt" if _is_text(content) else None


def _office_zip(content: bytes) -> str | None:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = set(archive.namelist())
            if "word/document.xml" in names:
                return "docx"
            if "xl/workbook.xml" in names:
                return "xlsx"
            if "mimetype" in names and archive.getinfo("mimetype").file_size < 200:
                return _BY_TYPE.get(archive.read("mimetype").decode("ascii", "replace").strip())
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, ValueError):
        return None
    return None


def _office_ole(content: bytes) -> str | None:
    streams = {"EncryptedPackage": "locked", "WordDocument": "doc", "Workbook": "xls", "Book": "xls"}
    for stream, kind in streams.items():
        if (stream + "\0").encode("utf-16-le") in content:
            return kind
    return None


def _is_text(content: bytes) -> bool:
    head = content[:65536]
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    # DOS ends a text with 0x1A, and some accounting programs still do.
    return not any(byte < 32 and byte not in b"\t\n\v\f\r\x1b" for byte in set(head.rstrip(b"\x1a")))
