"""Kinds of documents that are faxed, and the kind that a file's name and declared type say. Pure."""

from __future__ import annotations

from typing import Final

# MyFax faxes these.
TYPES: Final = {
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
# These are turned into PNG.
CONVERTED: Final = ("gif", "bmp", "webp", "heic")
PICTURES: Final = ("tiff", "jpeg", "png", *CONVERTED)
_BY_EXTENSION: Final = {kind: kind for kind in (*TYPES, *CONVERTED)} | {
    **dict.fromkeys(("jpg", "jpe", "jfif"), "jpeg"),
    **dict.fromkeys(("htm", "xhtml"), "html"),
    **dict.fromkeys(("docm", "dotx"), "docx"),
    "tif": "tiff",
    "xlsm": "xlsx",
    "dib": "bmp",
    "heif": "heic",
}
_BY_TYPE: Final = {content_type: kind for kind, content_type in TYPES.items()} | {
    "application/x-pdf": "pdf",
    "image/jpg": "jpeg",
    "image/pjpeg": "jpeg",
    "image/x-png": "png",
    "image/tif": "tiff",
    "image/x-tiff": "tiff",
    "image/gif": "gif",
    "image/bmp": "bmp",
    "image/x-ms-bmp": "bmp",
    "image/webp": "webp",
    "image/heic": "heic",
    "image/heif": "heic",
    "application/xhtml+xml": "html",
}
# What programs write for a file of any kind.
_VAGUE_TYPES: Final = ("", "application/octet-stream", "text/plain", "application/binary", "application/unknown")


def declared_kind(name: str, content_type: str) -> str | None:
    """Return the kind that a file's known extension declares, else its content type; None where neither is known."""
    extension = _extension(name)
    if extension in _BY_EXTENSION:
        return _BY_EXTENSION[extension]
    return None if content_type in _VAGUE_TYPES and _says_something(extension) else _BY_TYPE.get(content_type)


def says_nothing(name: str, content_type: str) -> bool:
    """Return whether name and type leave the kind open: `SCAN0001` or `Scan 04.01.2026`, of an unknown type."""
    return not _says_something(_extension(name)) and (content_type in _VAGUE_TYPES or content_type in _BY_TYPE)


def name_of_kind(name: str, kind: str) -> str:
    """Return the name with an extension of this kind; one of another kind is replaced."""
    extension = _extension(name)
    if _BY_EXTENSION.get(extension) == kind and extension in (kind, "jpg", "jpe", "jfif", "htm", "tif"):
        return name
    return f"{name.rpartition('.')[0] if extension in _BY_EXTENSION else name}.{kind}"


def _extension(name: str) -> str:
    return name.rpartition(".")[2].lower() if "." in name else ""


def _says_something(extension: str) -> bool:
    """Return whether an extension is one: letters and a few digits, no year and no Hebrew."""
    return 1 < len(extension) <= 5 and extension.isascii() and extension.isalnum() and not extension[0].isdigit()
