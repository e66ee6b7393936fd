"""Opens documents, wherever what they are in is stored."""

from __future__ import annotations

import io
from collections.abc import Callable

from mailbridge.errors import NotFound, StoreUnavailable
from mailbridge.model import Document
from mailbridge.store.document_reader import DocumentReader


def open_document(open_stored: Callable[[str], io.RawIOBase], document: Document) -> DocumentReader:
    """Open a document's decoded content; `open_stored` opens what a path names, as `Spool.open` does.

    Raises NotFound (deleted), StoreUnavailable.
    """
    if not document.path:
        raise NotFound("the document was deleted (retention.documents)")
    try:
        file = open_stored(document.path)
    except (FileNotFoundError, NotFound):
        raise NotFound("the document's file is no longer in the spool") from None
    except OSError as error:
        raise StoreUnavailable(f"the spool cannot be read: {error.strerror}") from None
    return DocumentReader(file, document)
