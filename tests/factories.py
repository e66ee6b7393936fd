"""The nouns as tests put them into a store: whole and plausible; a test names only what it is about."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from mailbridge.model import Document, Email, Envelope, Fax, Recipient, new_id, new_token

NOW = datetime(2026, 1, 4, 9, 0, 0, 123456, tzinfo=UTC)
NUMBER = "+97239876543"
_DOCUMENT = Document(
    name="a.pdf", content_type="application/pdf", size=3, sha256="ab", path="mail/x", offset=7, length=4, encoding="base64"
)


def a_fax(at: datetime = NOW, **changes: Any) -> Fax:
    """Return a fax that was queued at `at`, is due since then, and expires a day later, with `changes` of its fields."""
    fax = Fax(
        id=new_id("fax"),
        envelope_id=None,
        account="office",
        number=NUMBER,
        state="queued",
        token=new_token(),
        documents=(_DOCUMENT,),
        created_at=at,
        due_at=at,
        expires_at=at + timedelta(days=1),
        email=Email(message_id="<1@x>", sender="dana@example.co.il", subject="שלום"),
        tags={"case": "17"},
    )
    return replace(fax, **changes)


def an_envelope(at: datetime = NOW, **changes: Any) -> Envelope:
    """Return the envelope of a mail that came at `at`, with `changes` of its fields."""
    envelope = Envelope(
        id=new_id("env"),
        sender="dana@example.co.il",
        recipients=(Recipient(number=NUMBER, address=f"{NUMBER}@fax.local"),),
        path="mail/x",
        size=100,
        received_at=at,
        message_id="<1@x>",
        subject="שלום",
        account="office",
    )
    return replace(envelope, **changes)
