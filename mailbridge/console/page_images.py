"""Pages of documents as pictures, in a page of the console."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from starlette.responses import Response

from mailbridge.console.downloads import find_documents, note_view
from mailbridge.console.fax_lookup import find_fax
from mailbridge.console.visit import Visit
from mailbridge.errors import NotFound, StoreUnavailable
from mailbridge.model import Document
from mailbridge.page.shown_page import NotShown, ShownPage

# Pixels across: a small picture (twice its size on the page, for sharp screens), and one to read.
WIDTHS: Final = {"small": 360, "large": 1000}
MOST_SHOWN: Final = 30  # pages of one document
_PATIENCE: Final = 1.0  # seconds that a page waits for its pictures
_ONE_VIEW: Final = timedelta(minutes=10)
_MOST_VIEWS: Final = 1000
_SLOW: Final = set[asyncio.Future[ShownPage]]()
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
    """Return what is known of documents once the first page of each has been made, or after a second."""
    firsts = [asyncio.ensure_future(_page(visit, document, 1, "small")) for document in documents]
    if firsts:
        await asyncio.wait(firsts, timeout=_PATIENCE)
    for slow in (one for one in firsts if not one.done()):
        # It is made all the same, and is there when the browser asks for it.
        _SLOW.add(slow)
        slow.add_done_callback(_SLOW.discard)
    found = []
    for index, (document, first) in enumerate(zip(documents, firsts, strict=True)):
        shown = first.result() if first.done() else ShownPage(pages=1)
        pages = shown.pages if first.done() and shown.pages else document.pages or shown.pages
        found.append(ShownDocument(index=index, document=document, pages=pages, not_shown=shown.not_shown))
    return found


async def pages_of(visit: Visit, fax: Mapping[str, Any]) -> list[ShownDocument]:
    """Return the documents of a sent or received fax as pictures, and note in the audit who looks at them."""
    documents = await find_documents(visit, fax["id"])
    found = await shown_documents(visit, documents)
    if any(not one.not_shown for one in found):
        await _note_view(visit, fax)
    return found


async def show_page(visit: Visit) -> Response:
    """Show one page of a sent or received fax as a picture."""
    fax = await find_fax(visit)
    documents = await find_documents(visit, fax["id"])
    await _note_view(visit, fax)
    return await image_response(visit, documents)


async def _note_view(visit: Visit, fax: Mapping[str, Any]) -> None:
    """Write into the audit who looks at the pages of a fax: once, as a browser asks for each page by itself."""
    key, views = (visit.user.name, visit.client, fax["id"]), visit.console.views
    if key in views and visit.now - views[key] < _ONE_VIEW:
        return
    views.pop(key, None)
    views[key] = visit.now
    while len(views) > _MOST_VIEWS:
        views.pop(next(iter(views)))
    try:
        await note_view(visit, fax, "pages")
    except BaseException:  # it is not in the audit yet
        views.pop(key, None)
        raise


async def show_page_view(visit: Visit) -> Response:
    """Show one page of a sent or received fax, large, with the way to the next."""
    fax = await find_fax(visit)
    documents = await find_documents(visit, fax["id"])
    await _note_view(visit, fax)
    place = "received" if fax.get("direction") == "inbound" else "faxes"
    return await view_response(visit, documents, f"/{place}/{fax['id']}")


async def view_response(visit: Visit, documents: Sequence[Document], path: str) -> Response:
    """Return a page with the large picture that the path names by `n` and `page`. Raises NotFound."""
    index, document, number = _named(visit, documents)
    shown = await _page(visit, document, number, "large")
    return visit.page("page_view.html", index=index, document=document, number=number, shown=shown, path=path)


async def image_response(visit: Visit, documents: Sequence[Document]) -> Response:
    """Return the picture that the path names by `n` and `page`, in the size that the query names. Raises NotFound."""
    _, document, number = _named(visit, documents)
    shown = await _page(visit, document, number, visit.query("size"))
    headers = {"cache-control": "private, no-store"}
    if shown.not_shown is not None:
        return Response(_MISSING, media_type="image/svg+xml", headers=headers)
    return Response(shown.png, media_type="image/png", headers=headers)


def _named(visit: Visit, documents: Sequence[Document]) -> tuple[int, Document, int]:
    index, number = (_whole_number(visit.path(name)) for name in ("n", "page"))
    if index >= len(documents):
        raise NotFound("no such document")
    return index, documents[index], number


async def _page(visit: Visit, document: Document, number: int, size: str) -> ShownPage:
    try:
        return await visit.console.services.pictures(document, number, WIDTHS.get(size, WIDTHS["small"]), visit.user.name)
    except StoreUnavailable:
        return ShownPage(not_shown="limits")


def _whole_number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 6:
        raise NotFound("no such page")
    return int(text)
