"""Converts events to JSON. The names are the contract of `docs/webhooks.md`: new ones may be added, none may change."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal

from mailbridge.model import Attempt, Event, Fax, rfc3339

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
        "price": fax.price,
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
    """Return the body of a delivery, with the received document in the form that `webhook.NAME.document` asks for.

    `link` returns a signed link to the document. `read` returns the bytes at a path of the spool, or raises OSError if the file
    was deleted; above `inline_limit` bytes a link is sent instead.
    """
    data = dict(event.data)
    if data.get("document"):
        data["document"] = _document(data["document"], document, link, read, inline_limit)
    content = {"type": event.type, "timestamp": rfc3339(event.at), "data": data}
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def _document(
    stored: Mapping[str, Any], wanted: str, link: Link, read: Callable[[str], bytes], inline_limit: int
) -> dict[str, Any] | None:
    if wanted == "none":
        return None
    facts = {name: stored.get(name) for name in ("sha256", "size", "content_type", "filename", "pages")}
    if wanted == "inline" and stored["size"] <= inline_limit:
        try:
            return {"content": base64.b64encode(read(stored["path"])).decode(), **facts, "expires_at": None}
        except OSError:
            return {"content": None, **facts, "expires_at": None}
    if not stored["path"]:
        return {"url": None, **facts, "expires_at": None}
    url, expires = link(stored)
    return {"url": url, **facts, "expires_at": rfc3339(expires)}
