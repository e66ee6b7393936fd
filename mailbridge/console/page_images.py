"""Pages of documents as pictures, in a page of the console."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from mailbridge.console.visit import Visit
from mailbridge.errors import NotFound
from mailbridge.model import Document
from mailbridge.page.shown_page import NotShown

# Pixels across: a small picture (twice its size on the page, for sharp screens), and one to read.
WIDTHS: Final = {"small": 360, "large": 1000}
MOST_SHOWN: Final = 30  # pages of one document
# In the place of a page that cannot be shown, where its document has others: a sheet with a cross.
_MISSING: Final = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 210 297" width="360" height="509">'
    b'<path d="M0 0h210v297H0z" fill="#eee"/><path d="m75 118 60 60m0-60-60 60" stroke="#888" stroke-width="6"/></svg>'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownDocument:
    """A document as a page of the console shows it: its place among the others, and its pages or why there are none."""

    index: int
    document: Document
    pages: int | None  # None if unknown
    not_shown: NotShown | None

    @property
    def numbers(self) -> range:
        """The pages that are shown as pictures."""
        return range(0) if self.not_shown else range(1, min(self.pages or 0, MOST_SHOWN) + 1)


async def shown_documents(visit: Visit, documents: Sequence[Document]) -> list[ShownDocument]:
    """Return what is known of documents once the first page of each has been made. Raises StoreUnavailable."""
    found = []
    for index, document in enumerate(documents):
        first = await visit.console.services.pictures(document, 1, WIDTHS["small"])
        found.append(
            ShownDocument(index=index, document=document, pages=first.pages or document.pages, not_shown=first.not_shown)
        )
    return found


async def image_response(visit: Visit, documents: Sequence[Document]) -> Response:
    """Return the picture that the path names by `document` and `page`, in the size that the query names. Raises NotFound."""
    index, number = (_whole_number(visit.path(name)) for name in ("document", "page"))
    if index >= len(documents):
        raise NotFound("no such document")
    width = WIDTHS.get(visit.query("size"), WIDTHS["small"])
    shown = await visit.console.services.pictures(documents[index], number, width)
    headers = {"cache-control": "private, no-store"}
    if shown.not_shown is not None:
        return Response(_MISSING, media_type="image/svg+xml", headers=headers)
    return Response(shown.png, media_type="image/png", headers=headers)


def _whole_number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 6:
        raise NotFound("no such page")
    return int(text)
