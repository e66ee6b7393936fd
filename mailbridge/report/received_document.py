"""The fourth step of the pipeline: the documents of a received fax go into the spool.

They go there before the transaction that names them, so that an event never names a file that is missing. If the transaction
fails, or does not need them, the files are discarded. After a crash in between, or where nobody knows whether the transaction was
committed, those that no event names are deleted later, by `store.orphans` or `store.unnamed_bodies`.
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
from mailbridge.store.spool_paths import received_name


@dataclass(frozen=True, slots=True)
class SpooledMail:
    """A mail that is ready to be recorded. An incoming fax has a `fax_id`, and the `documents` that came, as events hold them.

    An `unreadable` mail is reported and left in the mailbox as it is, for a person to look at.
    """

    uid: int
    report: Report
    digest: str
    fax_id: str | None = None
    documents: tuple[dict[str, Any], ...] = ()
    unreadable: bool = False


def spool_mail(mail: VerifiedMail, spool: Spool) -> SpooledMail:
    """Give an incoming fax its id, and spool its documents, blocking. Raises StoreUnavailable."""
    if mail.report.kind != "incoming":
        return SpooledMail(mail.uid, mail.report, mail.digest)
    fax_id, documents = new_id("fax"), list[dict[str, Any]]()
    try:
        for n, one in enumerate(mail.attachments, 1):
            documents.append(spool_document(spool, received_name(fax_id, n), [one.content], one.content_type, one.filename))
    except BaseException:
        for document in documents:
            spool.delete(document["path"])
        raise
    return SpooledMail(mail.uid, mail.report, mail.digest, fax_id, tuple(documents))


def spool_document(spool: Spool, name: str, content: Iterable[bytes], content_type: str, filename: str) -> dict[str, Any]:
    """Spool a received document durably, blocking, and return it as events hold it; `name` is by `received_name`.

    Raises StoreUnavailable.
    """
    digest, size = hashlib.sha256(), 0

    def counted() -> Iterator[bytes]:
        nonlocal size
        for piece in content:
            digest.update(piece)
            size += len(piece)
            yield piece

    path = spool.store_received(name, counted())
    return document_data(path, digest.hexdigest(), size, content_type, filename)


async def discard_documents(spool: Spool, documents: Iterable[dict[str, Any]], log_id: str) -> None:
    """Delete spooled documents that no event names. A failure is logged: the file is then deleted at a later start."""
    for document in documents:
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
