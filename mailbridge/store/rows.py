"""Converts rows of the tables to the records of `model`, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

import pydantic_core

from mailbridge.model import Attempt, Delivery, Document, Email, Envelope, Event, Failure, Fax, Recipient

_PLAIN = frozenset((str, int, bool, type(None)))  # most values, which cost no call


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: dataclasses as mappings, tuples as lists, datetimes in ISO 8601."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict | Mapping):  # Mapping alone takes many times longer
        return {key: item if type(item) in _PLAIN else plain(item) for key, item in value.items()}
    if hasattr(value, "__dataclass_fields__"):
        items = [(name, getattr(value, name)) for name in value.__dataclass_fields__]
        return {name: item if type(item) in _PLAIN else plain(item) for name, item in items}
    return value


def to_json(value: Any) -> str:
    """Return a plain value as JSON, several times faster than `json`, which alone can write half of a surrogate pair."""
    try:
        return pydantic_core.to_json(value).decode()
    except ValueError:
        return json.dumps(value)


_FAX = tuple(field.name for field in fields(Fax))
_EVENT = tuple(field.name for field in fields(Event))
# Columns of JSON.
_STRUCTURED = frozenset(("documents", "attempts", "failure", "email", "report", "tags"))


def fax_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields of a Fax as column values."""
    return {name: plain(value) if name in _STRUCTURED else value for name, value in values.items()}


def fax_row(fax: Fax) -> dict[str, Any]:
    """Return a whole Fax as a row."""
    return {name: plain(getattr(fax, name)) if name in _STRUCTURED else getattr(fax, name) for name in _FAX}


def _attempt(value: Mapping[str, Any]) -> Attempt:
    times = {name: datetime.fromisoformat(value[name]) for name in ("started_at", "whole_at", "ended_at") if value[name]}
    return Attempt(**{**value, **times, "digests": tuple(value["digests"])})


def to_fax(row: Mapping[str, Any]) -> Fax:
    """Return the Fax of a row."""
    return Fax(
        **{
            **{name: row[name] for name in _FAX},
            "documents": tuple(Document(**document) for document in row["documents"]),
            "attempts": tuple(_attempt(attempt) for attempt in row["attempts"]),
            "failure": Failure(**row["failure"]) if row["failure"] else None,
            "email": Email(**row["email"]),
        }
    )


def envelope_row(envelope: Envelope, key: str | None) -> dict[str, Any]:
    """Return an Envelope as a row. `record` has all of it, for what no query selects by."""
    return {
        "id": envelope.id,
        "key": key,
        "path": envelope.path,
        "received_at": envelope.received_at,
        "record": plain(envelope),
        "user": envelope.user,
    }


def to_envelope(record: Mapping[str, Any]) -> Envelope:
    """Return the Envelope of a `record`. One of an older version lacks what came later."""
    recipients = tuple(Recipient(**recipient) for recipient in record["recipients"])
    received_at = datetime.fromisoformat(record["received_at"])
    passed_over = tuple(record.get("passed_over", ()))
    return Envelope(**{**record, "recipients": recipients, "received_at": received_at, "passed_over": passed_over})


def to_event(row: Mapping[str, Any]) -> Event:
    """Return the Event of a row."""
    return Event(**{name: row[name] for name in _EVENT})


def event_row(event: Event) -> dict[str, Any]:
    """Return an Event as a row, with the path of its received document, if it has one."""
    document = event.data.get("document")
    row = {name: getattr(event, name) for name in _EVENT}
    return {**row, "data": plain(event.data), "document": document.get("path") or None if document else None}


def to_delivery(row: Mapping[str, Any]) -> Delivery:
    """Return the Delivery of a row."""
    return Delivery(**row)
