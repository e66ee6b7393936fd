"""Content that one mail yields, but does not contain as a stretch of bytes: pages, files packed in others, converted pictures."""

from __future__ import annotations

import hashlib
import io

from mailbridge.errors import Refused
from mailbridge.model import Document
from mailbridge.store.spool_paths import derived_path
from mailbridge.submission.letter.letter import MAX_DERIVED


class DerivedContent:
    """Collects what is derived from the mail at `relpath`, piece after piece."""

    def __init__(self, relpath: str) -> None:
        self._path = derived_path(relpath)
        self._content = io.BytesIO()

    def add(self, name: str, content_type: str, content: bytes | memoryview, pages: int | None) -> Document:
        """Add a document's content, and return the document. Raises Refused beyond MAX_DERIVED bytes together."""
        offset = self._content.tell()
        if offset + len(content) > MAX_DERIVED:
            most = MAX_DERIVED // 1_000_000
            raise Refused(f"554 5.6.1 The files packed in the mail are larger than {most} MB together; send some in another mail")
        self._content.write(content)
        return Document(
            name=name,
            content_type=content_type,
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            path=self._path,
            offset=offset,
            length=len(content),
            pages=pages,
        )

    def to_bytes(self) -> bytes:
        """Return everything that was added."""
        return self._content.getvalue()
