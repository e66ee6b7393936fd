"""A document that MyFax fetches by its URL (RFC 2017)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from mailbridge.errors import Refused
from mailbridge.model import EXTERNAL, Document
from mailbridge.submission.letter.mime_part import Part

_URL = re.compile(r"https?://[!-~]{1,2000}", re.IGNORECASE)


def external_document(parts: Sequence[Part], relpath: str) -> Document:
    """Return the document to fetch. `parts` are those that are not text: `faxUpload.do` accepts one URL, and nothing with it.

    Raises Refused (554 5.6.0).
    """
    [part, *more] = parts
    url = part.url or ""
    if more or not url:
        raise Refused("554 5.6.0 A document given by its URL must be the only document; send the others in another mail")
    if not _URL.fullmatch(url):
        raise Refused("554 5.6.0 The document's URL must begin with https:// or http:// and have at most 2000 characters")
    digest = hashlib.sha256(url.encode()).hexdigest()
    return Document(name=url, content_type=EXTERNAL, size=0, sha256=digest, path=relpath, offset=0, length=0)
