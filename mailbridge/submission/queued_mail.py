"""What the store gets for an accepted mail: its envelope, and a queued fax for each number."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta

from mailbridge.model import Document, Email, Envelope, Fax, QueuedMail, new_id, new_token
from mailbridge.store.spool import NewMail
from mailbridge.submission.letter.letter import Letter
from mailbridge.submission.mail_transaction import MailTransaction


def envelope_of(transaction: MailTransaction, letter: Letter, file: NewMail, account: str, now: datetime) -> Envelope:
    """Return the envelope of a mail that was received at `now`."""
    return Envelope(
        id=transaction.id,
        sender=transaction.sender or "",
        recipients=tuple(transaction.recipients),
        path=file.relpath,
        size=file.size,
        received_at=now,
        message_id=letter.message_id,
        subject=letter.subject,
        account=account,
        user=transaction.user,
        envid=transaction.envid,
        ret=transaction.ret,
        passed_over=letter.passed_over,
        client=transaction.client,
    )


def queue_mail(
    envelope: Envelope, letter: Letter, expire_after: float, body: tuple[bytes | bytearray, ...] | None = None
) -> QueuedMail:
    """Return the mail with a fax for each number. A fax expires `expire_after` seconds after it is due.

    `body` is what is stored with the records.
    """
    # One fax for each number, however often and in whatever spelling the mail names it.
    numbers = dict.fromkeys(recipient.number for recipient in envelope.recipients)
    # The store returns the faxes of a repeated mail by id: sorted ids make its first id the one that this reply names.
    ids = sorted(new_id("fax") for _ in numbers)
    due = letter.send_at or envelope.received_at
    expires_at = max(envelope.received_at, due) + timedelta(seconds=expire_after)
    pages = _total_pages(letter.documents)
    email = Email(message_id=letter.message_id, envelope_id=envelope.envid, sender=envelope.sender, subject=letter.subject)
    faxes = tuple(
        Fax(
            id=id,
            envelope_id=envelope.id,
            account=envelope.account,
            number=number,
            state="queued",
            token=new_token(),
            documents=letter.documents,
            created_at=envelope.received_at,
            due_at=due,
            expires_at=expires_at,
            pages=pages,
            email=email,
            tags=letter.tags,
            user=envelope.user,
            client=envelope.client,
            same_key=_same_key(envelope, number, letter.content_digest),
        )
        for id, number in zip(ids, numbers, strict=True)
    )
    key = _repeat_key(envelope, letter.content_digest)
    return QueuedMail(envelope=envelope, faxes=faxes, repeat_key=key, body=body)


def _total_pages(documents: Sequence[Document]) -> int | None:
    pages = [document.pages for document in documents]
    return sum(page for page in pages if page is not None) if pages and None not in pages else None


def _same_key(envelope: Envelope, number: str, content_digest: str) -> str | None:
    """Return a digest of user, number and content, by which a fax that is sent again is known."""
    return _digest(envelope.user or "", number, content_digest) if content_digest else None


def _repeat_key(envelope: Envelope, content_digest: str) -> str | None:
    """Return a digest of Message-ID, user, account, content and numbers; None without a Message-ID.

    The Message-ID alone does not identify a mail: scanners and templates use one again and again.
    """
    if not (envelope.message_id or "").strip("<> "):
        return None
    numbers = sorted({recipient.number for recipient in envelope.recipients})
    return _digest(envelope.message_id or "", envelope.user or "", envelope.account, content_digest, *numbers)


def _digest(*facts: str) -> str:
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()
