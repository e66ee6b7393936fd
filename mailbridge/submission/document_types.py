"""What a file really is, by its content, and how many pages it has; refuses in words what MyFax could not fax."""

from __future__ import annotations

import contextlib
import io
import unicodedata
import warnings
import zipfile
from collections.abc import Iterator
from typing import Any

from mailbridge.errors import Refused

MAX_PAGES = 1000
MAX_PIXELS = 89_478_485  # Pillow's own limit: a page of A3 at 600 dpi fits, a decompression bomb does not
MAX_NAME = 100

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
_MAGIC = ((b"%PDF-", "pdf"), (b"II*\x00", "tiff"), (b"MM\x00*", "tiff"), (b"\xff\xd8\xff", "jpeg"), (b"\x89PNG\r\n\x1a\n", "png"))
_DEVICES = {"CON", "PRN", "AUX", "NUL"} | {f"{port}{number}" for port in ("COM", "LPT") for number in range(10)}


def refusal(name: str, reason: str) -> Refused:
    """Return the refusal of one file: 554 5.6.1 with its name and the reason."""
    return Refused(f"554 5.6.1 The file {name} cannot be faxed: {reason}")


def safe_name(raw: str | None, fallback: str) -> str:
    """Return a readable file name of at most 100 characters from what a stranger wrote: never a path, its extension kept.

    Controls and marks of direction go (a name must not show another extension than it has); a device name of Windows gets `_`.
    """
    name = "".join(letter for letter in raw or "" if unicodedata.category(letter)[0] != "C" or letter == "\t").replace("\t", " ")
    name = name.replace("\\", "/").rsplit("/", 1)[-1]
    name = " ".join("".join("_" if letter in '<>:"|?*' else letter for letter in name).split()).strip(". ")
    stem, dot, extension = name.rpartition(".")
    if not dot or len(extension) > 10:
        stem, dot, extension = name, "", ""
    if (stem.split(".")[0].strip()).upper() in _DEVICES:
        stem = f"_{stem}"
    name = stem[: MAX_NAME - len(dot + extension)].rstrip() + dot + extension
    return name or fallback


def claimed_kind(name: str, content_type: str) -> str | None:
    """Return what a file says it is: by a known extension, else by its declared type; None where neither is known."""
    extension = name.rpartition(".")[2].lower() if "." in name else ""
    if extension in _BY_EXTENSION:
        return _BY_EXTENSION[extension]
    return _BY_TYPE.get(content_type) if not extension or content_type not in ("text/plain", "text/html") else None


def real_kind(content: bytes) -> str | None:
    """Return what a file is by its content, `txt` for any readable text; None for what is not known."""
    for magic, kind in _MAGIC:
        if content.startswith(magic):
            return kind
    # Readers of PDF accept its mark anywhere in the first kilobyte, and some scanners rely on that.
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


def check(name: str, kind: str, content: bytes) -> int | None:
    """Check that `content` is a usable file of this kind and return its pages, None where the format does not tell.

    Raises Refused with 554 5.6.1 naming the file and the reason.
    """
    if not content:
        raise refusal(name, "it is empty")
    real = real_kind(content)
    if real == "locked":
        raise refusal(name, "it is protected by a password")
    if real != kind and not (real == "txt" and kind == "html"):
        shown = f"is really {real.upper()}" if real else "is not"
        raise refusal(name, f"it says it is {kind.upper()} but its content {shown}")
    pages = _pages_of_pdf(name, content) if kind == "pdf" else None
    if kind in ("tiff", "jpeg", "png"):
        pages = _pages_of_image(name, kind, content)
    if pages is not None and pages > MAX_PAGES:
        raise refusal(name, f"it has more than {MAX_PAGES} pages")
    return pages


def _pages_of_pdf(name: str, content: bytes) -> int:
    import pypdfium2

    try:
        document: Any = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        locked = getattr(error, "err_code", None) == pypdfium2.raw.FPDF_ERR_PASSWORD
        raise refusal(name, "it is protected by a password" if locked else "it is damaged") from None
    try:
        if len(document) == 0:
            raise refusal(name, "it has no pages")
        return len(document)
    finally:
        document.close()


def _pages_of_image(name: str, kind: str, content: bytes) -> int:
    from PIL import Image

    # Only headers are read; the size is judged below, for every page, in place of Pillow's own warning.
    Image.MAX_IMAGE_PIXELS = None
    try:
        with _quiet(), Image.open(io.BytesIO(content), formats=[kind.upper()]) as image:
            page = 0
            while page <= MAX_PAGES:
                if image.width * image.height > MAX_PIXELS:
                    raise refusal(name, f"its picture of {image.width} by {image.height} points is too large")
                page += 1
                if kind != "tiff":  # what phones keep behind the first picture of a JPEG is no page
                    break
                try:
                    image.seek(page)
                except EOFError:
                    break
            return page
    except (OSError, ValueError, SyntaxError, TypeError, KeyError, IndexError, OverflowError):
        raise refusal(name, "it is damaged") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Pillow warns of each oddity in a picture; what matters here is only whether it can be opened."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def image_size(content: bytes) -> tuple[int, int] | None:
    """Return the width and height of an image in points, from its header; None where it cannot be told."""
    from PIL import Image

    try:
        with _quiet(), Image.open(io.BytesIO(content)) as image:
            return image.size
    except (OSError, ValueError, SyntaxError, TypeError, KeyError, IndexError, OverflowError, Image.DecompressionBombError):
        return None
