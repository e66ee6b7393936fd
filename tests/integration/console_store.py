"""Puts faxes into the store of a console, as they are in each state, with hostile text where a mail can bring it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from mailbridge.lifecycle import FaxState
from mailbridge.model import Attempt, Document, Email, Failure, Fax, first_id, new_id
from tests.factories import a_fax, an_envelope
from tests.integration.console_fixtures import Site
from tests.store.factories import TRIGGERS_TO

HOSTILE = "<script>alert(1)</script>\"' onmouseover=alert(1) {{7*7}} \u202e\u0000&amp;</textarea><img src=x onerror=alert(1)>"
CONTENT = b"%PDF-1.4 a document"
SHA256 = "ab" * 32


def id_at(prefix: str, moment: Any) -> str:
    """Return an id that was made at this time."""
    return first_id(prefix, moment)[:-16] + new_id(prefix)[-16:]


async def add_fax(
    site: Site, state: FaxState = "queued", *, hostile: bool = False, minutes_ago: float = 10, **changes: Any
) -> Fax:
    """Store a mail with a fax in this state, `changes` being fields of the fax; return the fax."""
    at = site.now - timedelta(minutes=minutes_ago)
    envelope = an_envelope(at, id=id_at("env", at), user=changes.get("user"), passed_over=(HOSTILE if hostile else "logo.png",))
    file = site.spool.create(envelope.id)
    file.write(CONTENT)
    await file.commit()
    document = Document(
        name=HOSTILE if hostile else "חוזה.pdf",
        content_type="text/html" if hostile else "application/pdf",
        size=len(CONTENT),
        sha256=SHA256,
        path=file.relpath,
        offset=0,
        length=len(CONTENT),
        pages=2,
    )
    text = HOSTILE if hostile else "חשבונית 1723"
    email = Email(message_id="<1@x>", envelope_id=None, sender=text if hostile else "dana@example.co.il", subject=text)
    fax = a_fax(
        at, id=id_at("fax", at), documents=(document,), envelope_id=envelope.id, email=email, pages=2, client="192.168.1.7"
    )
    fax = replace(fax, tags={text: text} if hostile else {"case": "1723"}, **changes)
    await site.store.run(lambda tx: tx.submissions.add(replace(envelope, path=file.relpath), [fax], None, at))

    def go(tx: Any) -> Fax:
        moment = at
        for trigger in TRIGGERS_TO[state]:
            moment += timedelta(seconds=5)
            tx.faxes.transition(fax.id, trigger, moment, **_changes(trigger, moment, text if hostile else None))
        found: Fax = tx.faxes.get(fax.id)
        return found

    return await site.store.run(go)


def _changes(trigger: str, at: Any, hostile: str | None) -> dict[str, Any]:
    code = hostile or "3cf6c2ae-77aa"
    changes: dict[str, dict[str, Any]] = {
        "claim": {"attempts": (Attempt(n=1, started_at=at),)},
        "accept": {"fax_code": code, "attempts": (Attempt(n=1, started_at=at, whole_at=at, fax_code=code),)},
        "confirm": {"source": "report", "price": hostile or "0.40", "currency": "ILS"},
        "fail": {"source": "poll", "failure": Failure(code="busy", message=hostile or "busy", provider_code=3)},
    }
    return changes.get(trigger, {})


async def add_received(site: Site, *, hostile: bool = False, minutes_ago: float = 10, **changes: Any) -> str:
    """Store a received fax; return its id."""
    at = site.now - timedelta(minutes=minutes_ago)
    fax_id, text = id_at("fax", at), HOSTILE if hostile else "Fax"
    path = site.spool.store_received(fax_id, CONTENT)
    document = {
        "path": path,
        "sha256": SHA256,
        "size": len(CONTENT),
        "content_type": "image/svg+xml" if hostile else "application/pdf",
    }
    document |= {"filename": text if hostile else "fax.pdf", "pages": 1}
    data = {
        "fax_id": fax_id,
        "seq": 1,
        "direction": "inbound",
        "account": "office",
        "mailbox": text if hostile else "office",
        "to": "+97239000000",
        "from": text if hostile else "+97248765432",
        "status": "received",
        "received_at": at.isoformat(),
        "pages": 1,
        "source": "mail",
        "trusted": True,
        "subject": text,
        "document": document,
        "documents": [document],
        **changes,
    }
    await site.store.run(lambda tx: tx.events.emit("fax.received", data, at, fax_id))
    return fax_id


async def fail_deliveries(site: Site, answer: str) -> None:
    """Make all deliveries dead, with this error."""
    now = site.now
    while claimed := await site.store.run(lambda tx: tx.deliveries.claim("crm", now, 100)):
        for delivery, _ in claimed:
            id = delivery.id
            await site.store.run(lambda tx, id=id: tx.deliveries.transition(id, "exhaust", now, status=503, error=answer))  # type: ignore[misc]  # a default has no type
