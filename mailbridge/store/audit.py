"""The audit: a line for everything that was deleted, or that a person did. Lines are never changed or deleted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select

from mailbridge.model import new_id, received_documents
from mailbridge.store import rows, schema
from mailbridge.store.retention_interface import AuditLine
from mailbridge.store.sql import Sql

_audit = schema.audit.c
_DOCUMENT = ("sha256", "size", "pages")
_FAX = ("account", "state", "created_at", "final_at", "fax_code", "pages", "failure", "documents_deleted_at")
_ATTEMPT = ("n", "started_at", "ended_at", "fax_code")
_EVENT = ("account", "mailbox", "from", "to", "received_at")


class Audit:
    """See `store.retention_interface.Audit`."""

    __slots__ = ("_sql",)

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def newest(self, subject: str | None = None, number: str | None = None, limit: int = 100) -> list[AuditLine]:
        chosen = select(schema.audit).order_by(_audit.at.desc(), _audit.id.desc()).limit(limit)
        if subject is not None:
            chosen = chosen.where(_audit.subject == subject)
        if number is not None:
            chosen = chosen.where(_audit.number == number)
        return [AuditLine(**row) for row in self._sql.rows(chosen)]

    def add(self, drafts: Iterable[Mapping[str, Any]], now: datetime) -> list[AuditLine]:
        """Add a line for each of these drafts (see `fax_line`, `event_line`), and return the lines."""
        lines = [AuditLine(new_id("aud"), now, one["what"], one["subject"], one["number"], one["record"]) for one in drafts]
        if lines:
            self._sql.execute(insert(schema.audit), [line._asdict() for line in lines])
        return lines

    def note(self, what: str, subject: str, number: str | None, record: Mapping[str, Any], now: datetime) -> AuditLine:
        return self.add([{"what": what, "subject": subject, "number": number, "record": record}], now)[0]


def fax_line(what: str, fax: Mapping[str, Any]) -> dict[str, Any]:
    """Return the draft of a line about a fax's row. People's names, addresses and subjects are not kept."""
    record = {
        **{name: rows.plain(fax[name]) for name in _FAX},
        "attempts": [{name: attempt[name] for name in _ATTEMPT} for attempt in fax["attempts"]],
        "documents": [{name: document[name] for name in _DOCUMENT} for document in fax["documents"]],
    }
    return {"what": what, "subject": fax["id"], "number": fax["number"], "record": record}


def event_line(what: str, event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the draft of a line about an event's row. A received fax is named by its own id, others by the event's."""
    data = event["data"]
    record = {
        "type": event["type"],
        "at": rows.plain(event["at"]),
        **{name: data[name] for name in _EVENT if name in data},
        "documents": [{name: document.get(name) for name in _DOCUMENT} for document in received_documents(data)],
    }
    return {"what": what, "subject": event["fax_id"] or event["id"], "number": data.get("from"), "record": record}
