"""Counts the pages of a document as MyFax would fax them, for the simulator."""

from __future__ import annotations

import io
import warnings

from PIL import Image


def count_pages(content: bytes) -> int:
    """Return the pages of a PDF or TIFF; 1 for anything else, and for a file that cannot be read."""
    if content[:1024].lstrip().startswith(b"%PDF-"):
        return _pdf(content)
    if content.startswith((b"II*\0", b"MM\0*")):
        return _tiff(content)
    return 1


def _pdf(content: bytes) -> int:
    import pypdfium2  # loads a library of 7 MB

    try:
        document = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError:
        return 1
    try:
        return max(1, len(document))
    finally:
        document.close()


def _tiff(content: bytes) -> int:
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(content), formats=["TIFF"]) as picture:
            return int(getattr(picture, "n_frames", 1))
    except (OSError, ValueError, SyntaxError, TypeError, KeyError, EOFError):
        return 1
