"""Documents and confirmations to download. Each is an attachment that no browser shows or runs, and is noted in the audit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from mailbridge.console.fax_lookup import find_fax, find_sent_fax
from mailbridge.console.security import security_headers
from mailbridge.console.visit import Visit
from mailbridge.control import queries
from mailbridge.errors import NotFound
from mailbridge.model import EXTERNAL, Document
from mailbridge.store.document_reader import DocumentReader

_CHUNK = 256 * 1024  # bytes


async def download_document(visit: Visit) -> Response:
    """Return a document of a sent or received fax, as it was or will be faxed, or as it was received."""
    fax = await find_fax(visit)
    document = await find_document(visit, fax["id"])
    file = await asyncio.to_thread(visit.console.runtime.spool.open_document, document)
    try:
        await note_view(visit, fax, document.name)
    except BaseException:
        file.close()
        raise
    headers = attachment(document.name, document.content_type, document.size)
    return StreamingResponse(_chunks(file), headers=headers)


async def find_document(visit: Visit, fax_id: str) -> Document:
    """Return the document with the number `n` of the path. Raises NotFound."""
    stored, n = await find_documents(visit, fax_id), visit.path("n")
    if not n.isdecimal() or not n.isascii() or len(n) > 4 or int(n) >= len(stored):
        raise NotFound("no such document")
    document = stored[int(n)]
    if document.content_type == EXTERNAL:
        raise NotFound("MyFax fetches this document itself; it is not stored here")
    return document


async def find_documents(visit: Visit, fax_id: str) -> list[Document]:
    """Return the documents of a sent or received fax. Raises NotFound."""
    stored = await queries.stored_documents(visit.console.runtime.store, id=fax_id)
    return [Document(**{"pages": None, **one}) for one in stored]


async def download_confirmation(visit: Visit) -> Response:
    """Return the confirmation of a sent fax."""
    fax = await find_sent_fax(visit)
    content = await visit.console.services.confirmation(fax["id"])
    await note_view(visit, fax, "confirmation")
    return Response(content, headers=attachment(f"confirmation-{fax['id'][-8:]}.pdf", "application/pdf", len(content)))


async def note_view(visit: Visit, fax: Mapping[str, object], document: str) -> None:
    """Write into the audit who looks at a document."""
    now, number = visit.now, fax.get("number") or fax.get("from")
    record = visit.actor(document=document)
    subject, other = str(fax["id"]), None if number is None else str(number)
    await visit.console.runtime.store.run(lambda tx: tx.audit.note("document.view", subject, other, record, now))


def attachment(name: str, content_type: str, size: int) -> dict[str, str]:
    """Return the headers of a download."""
    return {
        **security_headers(sandbox=True),
        "content-type": content_type if content_type.isascii() and content_type.isprintable() else "application/octet-stream",
        "content-length": str(size),
        "content-disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
        "cache-control": "private, no-store",
    }


async def _chunks(file: DocumentReader) -> AsyncIterator[bytes]:
    try:
        while chunk := await asyncio.to_thread(file.read, _CHUNK):
            yield chunk
    finally:
        file.close()
