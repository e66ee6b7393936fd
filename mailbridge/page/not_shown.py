"""Why a page of a document cannot be shown. Pure, since the daemon reads it without the libraries of documents."""

from __future__ import annotations

from typing import Literal

# The document was deleted, is fetched by MyFax from elsewhere, is of a kind that has no pictures (such as Word), needs a
# password, is damaged, has no such page, or takes more time or memory than a worker has.
NotShown = Literal["deleted", "elsewhere", "kind", "locked", "damaged", "page", "limits"]
