"""The fourth step of the pipeline: the document of a received fax goes into the spool.

It goes there before the transaction that names it, so that an event never names a file that is missing. If the transaction fails,
or does not need the document, the file is discarded; after a crash in between, `store.orphans` deletes it at the next start.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from mailbridge import log
from mailbridge.errors import StoreUnavailable
from mailbridge.model import Report, new_id
from mailbridge.report.trust import VerifiedMail
from mailbridge.store.spool import Spool


@dataclass(frozen=True, slots=True)
class SpooledMail:
    """A mail that is ready to be recorded. An incoming fax has a `fax_id`, and a `document` (as events hold it) if one came.

    An `unreadable` mail is reported and left in the mailbox as it is, for a person to look at.
    """

    uid: int
    report: Report
    digest: str
    fax_id: str | None = None
    document: dict[str, Any] | None = None
    unreadable: bool = False


def spool_mail(mail: VerifiedMail, spool: Spool) -> SpooledMail:
    """Give an incoming fax its id, and spool its document, blocking. Raises StoreUnavailable."""
    if mail.report.kind != "incoming":
        return SpooledMail(mail.uid, mail.report, mail.digest)
    fax_id, attachment = new_id("fax"), mail.attachment
    document = None
    if attachment is not None:
        document = spool_document(spool, fax_id, [attachment.content], attachment.content_type, attachment.filename)
    return SpooledMail(mail.uid, mail.report, mail.digest, fax_id, document)


def spool_document(spool: Spool, item_id: str, content: Iterable[bytes], content_type: str, filename: str) -> dict[str, Any]:
    """Spool a received document durably, blocking, and return it as events hold it. Raises StoreUnavailable."""
    digest, size = hashlib.sha256(), 0

    def counted() -> Iterator[bytes]:
        nonlocal size
        for piece in content:
            digest.update(piece)
            size += len(piece)
            yield piece

    path = spool.store_received(item_id, counted())
    return document_data(path, digest.hexdigest(), size, content_type, filename)


async def discard_document(spool: Spool, document: dict[str, Any] | None, log_id: str) -> None:
    """Delete a spooled document that no event names. A failure is logged: the file is then deleted at a later start."""
    if document is not None:
        try:
            await asyncio.to_thread(spool.delete, document["path"])
        except StoreUnavailable as error:
            log.document_not_deleted(log_id, error=str(error))


def document_data(path: str, sha256: str, size: int, content_type: str, filename: str) -> dict[str, Any]:
    """Return a received document as events hold it (see `model.Event`): `path` is in the spool, `size` in bytes."""
    return {
        "path": path,
        "sha256": sha256,
        "size": size,
        "content_type": content_type,
        "filename": filename,
        "pages": None,
    }
