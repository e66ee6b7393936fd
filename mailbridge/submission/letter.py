"""A letter: what one mail asks to be faxed, and how. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from mailbridge.model import Document

PageMode = Literal["never", "auto", "always"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPage:
    """The mail's text as a PDF of `pages` pages. `size` is in bytes, `sha256` in hexadecimal."""

    content: bytes
    size: int
    sha256: str
    pages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """What one mail asks for: `text_page` is faxed first, then `documents` in their order.

    `sender` is the first address of From, `authors` are all of them. `account`, `page_mode`, `send_at` (UTC) and `tags` come from
    the X-Mailbridge headers, and are None or empty without them. `auto_submitted` marks a mail that a machine sent (RFC 3834),
    `mail_loop` one that mailbridge itself sent; `received_count` counts Received headers (RFC 5321 section 6.3).
    """

    message_id: str | None
    subject: str
    sender: str | None
    authors: tuple[str, ...] = ()
    documents: tuple[Document, ...]
    text_page: TextPage | None = None
    account: str | None = None
    page_mode: PageMode | None = None
    send_at: datetime | None = None
    tags: dict[str, str] = field(default_factory=dict)
    auto_submitted: bool = False
    mail_loop: bool = False
    received_count: int = 0
