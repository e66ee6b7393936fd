"""A letter: what one mail asks to be faxed, and how. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from mailbridge.model import Document

PageMode = Literal["never", "auto", "always"]
MAX_DERIVED: Final = 64_000_000  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """What one mail asks for: `documents` are faxed in their order; a page made of the mail's text is the first of them.

    A document is a stretch of the mail, or of `derived`: the page, files that were packed in the mail, converted pictures, at
    most MAX_DERIVED bytes. The spool stores it at `derived_path`. `content_digest` is the SHA-256 of text and attachments: of the
    text itself, since a page of it also shows the date. `passed_over` names the parts that are not faxed, because they
    only accompany a mail.

    `sender` is the first address of From, `authors` are all of them. `account`, `page_mode`, `send_at` (UTC) and `tags` come from
    the X-Mailbridge headers, and are None or empty without them. `auto_submitted` marks an automatic reply (RFC 3834),
    `mail_loop` one that mailbridge itself sent; `received_count` counts Received headers (RFC 5321 section 6.3).
    """

    message_id: str | None
    subject: str
    sender: str | None
    authors: tuple[str, ...] = ()
    documents: tuple[Document, ...]
    content_digest: str = ""
    derived: bytes = b""
    passed_over: tuple[str, ...] = ()
    account: str | None = None
    page_mode: PageMode | None = None
    send_at: datetime | None = None
    tags: dict[str, str] = field(default_factory=dict)
    auto_submitted: bool = False
    mail_loop: bool = False
    received_count: int = 0
