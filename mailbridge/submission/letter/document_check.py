"""Documents are checked before the 250: a file that MyFax could not fax is refused while its sender can still learn why."""

from __future__ import annotations

from typing import Any

import pypdfium2.raw as pdfium

from mailbridge.submission.letter.pictures import DAMAGED, LOCKED, MAX_PAGES, count_pages, refusal


def pages_of(name: str, kind: str, content: bytes | memoryview) -> int | None:
    """Check that `content` is a usable file of its kind; return its pages, None for a format without fixed pages.

    Raises Refused (554 5.6.1) naming the file and the reason.
    """
    pages = None
    if kind == "pdf":
        pages = _pages_of_pdf(name, content)
    elif kind in ("tiff", "jpeg", "png"):
        pages = count_pages(name, kind, content)
    if pages is not None and pages > MAX_PAGES:
        raise refusal(name, f"it has more than {MAX_PAGES} pages; split it into several mails")
    return pages


def _pages_of_pdf(name: str, content: bytes | memoryview) -> int:
    # pypdfium2's own PdfDocument takes three times as long for a PDF of one page.
    whole = bytes(content)
    document: Any = pdfium.FPDF_LoadMemDocument64(whole, len(whole), None)
    if not document:
        locked = pdfium.FPDF_GetLastError() == pdfium.FPDF_ERR_PASSWORD
        raise refusal(name, LOCKED if locked else DAMAGED)
    pages = int(pdfium.FPDF_GetPageCount(document))
    pdfium.FPDF_CloseDocument(document)
    if pages < 1:
        raise refusal(name, DAMAGED)
    return pages
