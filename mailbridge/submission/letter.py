"""A letter: what a spooled mail asks to be faxed, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from mailbridge.model import Document

PageMode = Literal["never", "auto", "always"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """What one mail asks for. `documents` are in the order to be faxed, a page made of the mail's text first.

    `sender` is the first address of From. `account`, `page`, `send_at` (UTC) and `tags` are the X-Mailbridge headers, None where
    none came. `auto_submitted` is RFC 3834's mark of a machine's mail; `looped` tells of a mail that mailbridge itself wrote;
    `received_count` counts Received headers (RFC 5321 section 6.3).
    """

    message_id: str | None
    subject: str
    sender: str | None
    documents: tuple[Document, ...]
    account: str | None = None
    page: PageMode | None = None
    send_at: datetime | None = None
    tags: dict[str, str] = field(default_factory=dict)
    auto_submitted: bool = False
    looped: bool = False
    received_count: int = 0
