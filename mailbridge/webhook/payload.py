"""Converts events to JSON. The names are the contract of `docs/webhooks.md`: new ones may be added, none may change."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from mailbridge.errors import NotFound
from mailbridge.model import Attempt, Event, Fax, received_documents, rfc3339

# Returns the URL of a document and when it expires.
Link = Callable[[Mapping[str, Any]], tuple[str, datetime]]


def fax_data(fax: Fax) -> dict[str, Any]:
    """Return the `data` of an event about an outbound fax; `fax.seq` is the event's `seq`."""
    failure = fax.failure
    error = failure and {"code": failure.code, "provider_code": failure.provider_code, "message": failure.message}
    return {
        "fax_id": fax.id,
        "seq": fax.seq,
        "direction": "outbound",
        "account": fax.account,
        "to": fax.number,
        "from": None,
        "status": fax.state,
        "pages": fax.pages,
        "fax_code": fax.fax_code,
        "error": error,
        "attempts": [_attempt(attempt) for attempt in fax.attempts],
        "delivered_at": rfc3339(fax.final_at) if fax.state == "delivered" and fax.final_at else None,
        "price": fax.price,
        "currency": fax.currency,
        "credit_left": fax.credit_left,
        "source": fax.source,
        "email": {
            "message_id": fax.email.message_id,
            "envelope_id": fax.email.envelope_id,
            "sender": fax.email.sender,
            "subject": fax.email.subject,
        },
        "report": fax.report,
        "tags": dict(fax.tags),
        "user": fax.user,
        "client": fax.client,
        "repeat_of": fax.repeat_of,
        "document_sha256": [document.sha256 for document in fax.documents],
        "document": None,
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "n": attempt.n,
        "fax_code": attempt.fax_code,
        "started_at": rfc3339(attempt.started_at),
        "ended_at": attempt.ended_at and rfc3339(attempt.ended_at),
        "error_code": attempt.error_code,
    }


def body(
    event: Event, document: Literal["none", "link", "inline"], *, link: Link, read: Callable[[str], bytes], inline_limit: int
) -> bytes:
    """Return the body of a delivery, with the received documents in the form that `webhook.NAME.document` asks for.

    `link` returns a signed link to the document. `read` returns the bytes at a path of the spool, or raises OSError or NotFound
    if they were deleted; above `inline_limit` bytes a link is sent instead.
    """
    data = dict(event.data)
    stored = received_documents(data)
    if stored or "documents" in data:
        data["documents"] = _documents(stored, document, link, read, inline_limit)
        data["document"] = next(iter(data["documents"]), None)
    content = {"type": event.type, "timestamp": rfc3339(event.at), "data": data}
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def _documents(
    stored: Sequence[Mapping[str, Any]], wanted: str, link: Link, read: Callable[[str], bytes], inline_limit: int
) -> list[dict[str, Any]]:
    """Return documents in the wanted form. All that are inline have at most `inline_limit` bytes together."""
    if wanted == "none":
        return []
    found, left = [], inline_limit
    for one in stored:
        inline = wanted == "inline" and one["size"] <= left
        left -= one["size"] if inline else 0
        found.append(_inline(one, read) if inline else _linked(one, link))
    return found


def _inline(stored: Mapping[str, Any], read: Callable[[str], bytes]) -> dict[str, Any]:
    try:
        content = base64.b64encode(read(stored["path"])).decode()
    except (OSError, NotFound):
        content = None
    return {"content": content, **_facts(stored), "expires_at": None}


def _linked(stored: Mapping[str, Any], link: Link) -> dict[str, Any]:
    if not stored["path"]:
        return {"url": None, **_facts(stored), "expires_at": None}
    url, expires = link(stored)
    return {"url": url, **_facts(stored), "expires_at": rfc3339(expires)}


def _facts(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {name: stored.get(name) for name in ("sha256", "size", "content_type", "filename", "pages")}
