"""Documents are checked before the 250: a file that MyFax could not fax is refused while the client can still show the reason."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from typing import Any

from mailbridge.errors import Refused
from mailbridge.submission.document_types import kind_of_content

MAX_PAGES = 1000
MAX_PIXELS = 89_478_485  # Pillow's own limit: an A3 page at 600 dpi fits, a decompression bomb does not


def refusal(name: str, reason: str) -> Refused:
    """Return the refusal of one file: 554 5.6.1 with its name and the reason."""
    return Refused(f"554 5.6.1 The file {name} cannot be faxed: {reason}")


def check(name: str, kind: str, content: bytes) -> int | None:
    """Check that `content` is a usable file of this kind; return its pages, None for a format without fixed pages.

    Raises Refused (554 5.6.1) naming the file and the reason.
    """
    if not content:
        raise refusal(name, "it is empty")
    found = kind_of_content(content)
    if found == "locked":
        raise refusal(name, "it is protected by a password")
    if found != kind and not (found == "txt" and kind == "html"):
        raise refusal(
            name, f"its content is {found.upper()}, not {kind.upper()}" if found else f"its content is not {kind.upper()}"
        )
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

    # Only headers are read. The size of every page is checked below, instead of by Pillow's own warning.
    Image.MAX_IMAGE_PIXELS = None
    try:
        with _quiet(), Image.open(io.BytesIO(content), formats=[kind.upper()]) as image:
            page = 0
            while page <= MAX_PAGES:
                if image.width * image.height > MAX_PIXELS:
                    raise refusal(name, f"its picture of {image.width} by {image.height} pixels is too large")
                page += 1
                if kind != "tiff":  # the pictures that phones add behind the first one of a JPEG are not pages
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
    """Silence Pillow, which warns of each oddity in a picture: it only matters whether the picture can be opened."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def image_size(content: bytes) -> tuple[int, int] | None:
    """Return the width and height of an image in pixels, from its header; None if the header cannot be read."""
    from PIL import Image

    try:
        with _quiet(), Image.open(io.BytesIO(content)) as image:
            return image.size
    except (OSError, ValueError, SyntaxError, TypeError, KeyError, IndexError, OverflowError, Image.DecompressionBombError):
        return None
