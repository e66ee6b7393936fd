"""A page of a document as people see it. Pure, since the daemon has it without the libraries of documents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# The document was deleted, is fetched by MyFax from elsewhere, is of a kind that has no pictures (such as Word), needs a
# password, is damaged, has no such page, or takes more time or memory than a worker has.
NotShown = Literal["deleted", "elsewhere", "kind", "locked", "damaged", "page", "limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownPage:
    """A page as PNG and the number of pages of its document; or why it cannot be shown."""

    png: bytes = b""
    pages: int = 0
    not_shown: NotShown | None = None
