"""Pictures of documents' pages, made by the workers, one at a time for each person, who so costs the mails and others little.

The newest pictures are kept in memory. So is what could not be shown: a hostile document takes a worker's time once.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final, NamedTuple, Protocol
from weakref import WeakValueDictionary

from mailbridge.errors import Refused
from mailbridge.model import EXTERNAL, Document
from mailbridge.page.shown_page import ShownPage
from mailbridge.submission.worker_protocol import Response

_KEPT: Final = 8_000_000  # bytes of pictures
_LARGEST_DOCUMENT: Final = 50_000_000  # bytes
_LARGEST_PICTURE: Final = 300_000  # bytes; a worker makes smaller ones
_ENTRY: Final = 200  # bytes that remembering costs, beside the picture
_PNG: Final = b"\x89PNG\r\n\x1a\n"


class _Key(NamedTuple):
    sha256: str
    path: str
    offset: int
    number: int
    width: int


class Render(Protocol):
    """Asks a worker for a page. Raises Refused where its time or memory ran out, StoreUnavailable."""

    async def __call__(self, document: Document, number: int, width: int, viewer: str) -> Response: ...


class PagePictures:
    """`await pictures(document, number, width, viewer)` shows page `number` (1 for the first), `width` pixels wide or less.

    Whoever looks at a document that takes long waits for it alone: `viewer` is the name of a user.
    """

    def __init__(self, render: Render) -> None:
        self._render = render
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # by viewer
        self._kept: OrderedDict[_Key, ShownPage] = OrderedDict()
        self._size = 0

    async def __call__(self, document: Document, number: int, width: int, viewer: str) -> ShownPage:
        """Return the picture, or why there is none. Raises StoreUnavailable if it cannot be made at the moment."""
        if not document.path:
            return ShownPage(not_shown="deleted")
        if document.content_type == EXTERNAL:
            return ShownPage(not_shown="elsewhere")
        if document.size > _LARGEST_DOCUMENT:
            return ShownPage(not_shown="limits")
        key = _Key(document.sha256, document.path, document.offset, number, width)
        turn = self._turns.setdefault(viewer, asyncio.Lock())
        async with turn:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            picture = await self._picture(document, number, width, viewer)
            self._keep(key, picture)
            return picture

    async def _picture(self, document: Document, number: int, width: int, viewer: str) -> ShownPage:
        try:
            response = await self._render(document, number, width, viewer)
        except Refused:
            return ShownPage(not_shown="limits")
        content = response.page or b""
        if response.not_shown or response.refused:
            return ShownPage(not_shown=response.not_shown or "damaged")
        # A hostile document may have written the response.
        if not content.startswith(_PNG) or len(content) > _LARGEST_PICTURE or not 0 < response.pages < 100_000:
            return ShownPage(not_shown="damaged")
        return ShownPage(png=content, pages=response.pages)

    def _keep(self, key: _Key, picture: ShownPage) -> None:
        if (earlier := self._kept.pop(key, None)) is not None:  # two have looked at once
            self._size -= len(earlier.png) + _ENTRY
        self._kept[key] = picture
        self._size += len(picture.png) + _ENTRY
        while self._size > _KEPT:
            _, oldest = self._kept.popitem(last=False)
            self._size -= len(oldest.png) + _ENTRY
