"""Samples of events, for `mailbridge ping --type`: as real ones, and marked by `"test": true`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from mailbridge.lifecycle import FaxState
from mailbridge.model import Attempt, Document, Email, Failure, Fax, rfc3339
from mailbridge.webhook.payload import fax_data

_CODE: Final = "3cf6c2ae-7d0b-4b8e-9b53-5a4f6f0c2d11"
_SHA256: Final = "2c71130ca469c3d57d592ee8406400bb0861a200a67a6e807ddbe6c4177659ea"
_STATES: Final[Mapping[str, FaxState]] = {
    "fax.queued": "queued",
    "fax.submitted": "submitted",
    "fax.delivered": "delivered",
    "fax.failed": "failed",
    "fax.cancelled": "cancelled",
    "fax.in_doubt": "in_doubt",
    "fax.resolved": "submitted",
    "fax.conflict": "delivered",
}


def sample(type_: str, now: datetime) -> dict[str, Any]:
    """Return the `data` of a sample event. Raises KeyError for an unknown type."""
    state = _STATES.get(type_)
    data = _others(now)[type_] if state is None else fax_data(_fax(state, now))
    return {**data, "test": True}


def _fax(state: FaxState, now: datetime) -> Fax:
    """Return a fax that has come to this state."""
    seq = {"queued": 1, "cancelled": 2, "in_doubt": 2, "submitted": 2}.get(state, 3)
    fax = Fax(
        id="fax_00000000000000000000000000",
        envelope_id=None,
        account="office",
        number="+97239876543",
        state=state,
        token="MB-00000000",
        documents=(_document(),),
        created_at=now - timedelta(minutes=2),
        due_at=now,
        expires_at=now + timedelta(days=1),
        seq=seq,
        pages=2,
        email=Email(message_id="<sample@example.co.il>", sender="dana@example.co.il", subject="Sample"),
        tags={"case": "1723"},
        user="dana",
    )
    if state in ("queued", "cancelled"):
        return replace(fax, source="person" if state == "cancelled" else None)
    began = now - timedelta(minutes=1)
    if state == "in_doubt":
        return replace(fax, attempts=(Attempt(n=1, started_at=began, ended_at=now, error_code="in_doubt"),))
    attempt = Attempt(n=1, started_at=began, fax_code=_CODE)
    sent = replace(fax, fax_code=_CODE, price="0.40", credit_left="118", source="upload", attempts=(attempt,))
    if state == "submitted":
        return sent
    ended = replace(sent, source="poll", final_at=now, attempts=(replace(attempt, ended_at=now),))
    if state == "delivered":
        return ended
    failure = Failure(code="busy", message="The number was busy.", provider_code=3)
    return replace(ended, failure=failure, attempts=(replace(attempt, ended_at=now, error_code="busy"),))


def _document() -> Document:
    return Document(
        name="contract.pdf", content_type="application/pdf", size=18452, sha256=_SHA256, path="", offset=0, length=18452, pages=2
    )


def _others(now: datetime) -> dict[str, dict[str, Any]]:
    """Return the data of every event that is not about an outbound fax."""
    report = {"status": "Success", "status_code": 9, "subject": "Sample", "trusted": True, "message_id": None, "match": None}
    return {
        "fax.received": _received("fax", "fax.pdf", "application/pdf", now),
        "voicemail.received": _received("vm", "voicemail.wav", "audio/wav", now),
        "report.received": {
            "mailbox": "office",
            "account": "office",
            "matched": None,
            "match": None,
            "trusted": True,
            "report": report,
            "defects": [],
        },
        "credit.low": {"account": "office", "credit_left": "18", "limit": 20.0},
        "notice.failed": {
            "notice_id": "dlv_00000000000000000000000000",
            "kind": "failed",
            "form": "mail",
            "to": "dana@example.co.il",
            "fax_ids": ["fax_00000000000000000000000000"],
            "account": "office",
            "user": "dana",
            "attempts": 10,
            "status": 550,
            "error": "550 5.1.1 no such user",
        },
        "account.paused": {"account": "office", "reason": "sample", "until": rfc3339(now)},
        "account.resumed": {"account": "office"},
        "webhook.stopped": {"webhook": "sample", "error": "HTTP 410 Gone", "stopped_at": rfc3339(now)},
        "mailbox.down": {"mailbox": "office", "account": "office", "error": "sample"},
        "mailbox.up": {"mailbox": "office", "account": "office", "error": None},
        "ping": {"webhook": "sample"},
    }


def _received(prefix: str, filename: str, content_type: str, now: datetime) -> dict[str, Any]:
    document = {
        "path": "sample",
        "sha256": _SHA256,
        "size": 18452,
        "content_type": content_type,
        "filename": filename,
        "pages": None,
    }
    return {
        "fax_id": f"{prefix}_00000000000000000000000000",
        "seq": 1,
        "direction": "inbound",
        "account": "office",
        "mailbox": "office",
        "to": "+97239876543",
        "from": "+97226543210",
        "status": "received",
        "received_at": rfc3339(now),
        "pages": None,
        "source": "mail",
        "trusted": True,
        "subject": "Sample",
        "message_id": "<sample@myfax.co.il>",
        "document": document,
        "documents": [document],
    }
