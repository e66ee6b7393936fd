"""Queries of the store, answered as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Any, get_args

from mailbridge.errors import ControlError, NotFound
from mailbridge.lifecycle import FaxState
from mailbridge.model import Attempt, Delivery, Document, Event, Failure, Fax
from mailbridge.store.interface import Store, Transaction

# More than any fax has; it bounds the answer.
_ALL_OF_ONE_FAX = 1000


async def queue(store: Store, *, state: FaxState | None = None, limit: int = 100) -> list[dict[str, Any]]:
    """Return faxes, newest first; with `state`, only those. Raises ControlError for an unknown state."""
    if state is not None and state not in get_args(FaxState):
        raise ControlError(f"unknown state {state!r}; use one of {', '.join(get_args(FaxState))}")
    return [fax_as_json(fax) for fax in await store.run(lambda tx: tx.faxes.newest(state, limit))]


async def show(store: Store, *, id: str) -> dict[str, Any]:
    """Return the full history of one fax: attempts, documents, what is not faxed, events and deliveries. Raises NotFound."""

    def work(tx: Transaction) -> dict[str, Any]:
        fax = tx.faxes.get(id)
        events = list(reversed(tx.events.newest(id, _ALL_OF_ONE_FAX)))
        sent = [(event, tx.deliveries.newest(None, event.id, _ALL_OF_ONE_FAX)) for event in events]
        return {
            **fax_as_json(fax),
            "documents": [_document(document) for document in fax.documents],
            "passed_over": tx.submissions.passed_over(fax.envelope_id or ""),
            "attempts": [_attempt(attempt) for attempt in fax.attempts],
            "events": [_event(event) for event in events],
            "deliveries": [_delivery(delivery, event.type) for event, found in sent for delivery in found],
        }

    return await store.run(work)


async def events(store: Store, *, fax: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
    """Return events, newest first; with the id of a `fax`, only those of that fax."""
    return [_event(event) for event in await store.run(lambda tx: tx.events.newest(fax, limit))]


async def deliveries(store: Store, *, dead: bool = False, limit: int = 100) -> list[dict[str, Any]]:
    """Return deliveries, newest first; with `dead`, only those that were given up."""

    def work(tx: Transaction) -> list[dict[str, Any]]:
        found = tx.deliveries.newest("dead" if dead else None, None, limit)
        return [_delivery(delivery, _event_type(tx, delivery.event_id)) for delivery in found]

    return await store.run(work)


def _event_type(tx: Transaction, event_id: str) -> str | None:
    try:
        return tx.events.get(event_id).type
    except NotFound:
        return None


def _at(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat(timespec="milliseconds")


def fax_as_json(fax: Fax) -> dict[str, Any]:
    """Return a fax as commands print it with `--json`."""
    return {
        "id": fax.id,
        "state": fax.state,
        "number": fax.number,
        "account": fax.account,
        "created_at": _at(fax.created_at),
        "due_at": None if fax.final_at else _at(fax.due_at),
        "final_at": _at(fax.final_at),
        "pages": fax.pages,
        "fax_code": fax.fax_code,
        "token": fax.token,
        "tries": len(fax.attempts),
        "polls": fax.polls,
        "failure": _failure(fax.failure),
        "price": fax.price,
        "source": fax.source,
        "sender": fax.email.sender,
        "subject": fax.email.subject,
        "message_id": fax.email.message_id,
        "tags": dict(fax.tags),
        "user": fax.user,
        "client": fax.client,
        "repeat_of": fax.repeat_of,
        "restored_at": _at(fax.restored_at),
    }


def _failure(failure: Failure | None) -> dict[str, Any] | None:
    if failure is None:
        return None
    return {"code": failure.code, "message": failure.message, "provider_code": failure.provider_code}


def _document(document: Document) -> dict[str, Any]:
    kept = {name: getattr(document, name) for name in ("name", "content_type", "size", "sha256", "pages")}
    return {**kept, "deleted": not document.path}


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "n": attempt.n,
        "started_at": _at(attempt.started_at),
        "whole_at": _at(attempt.whole_at),
        "ended_at": _at(attempt.ended_at),
        "fax_code": attempt.fax_code,
        "error_code": attempt.error_code,
    }


def _event(event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "type": event.type,
        "at": _at(event.at),
        "fax_id": event.fax_id,
        "seq": event.seq,
        "data": dict(event.data),
    }


def _delivery(delivery: Delivery, type_: str | None) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "event_id": delivery.event_id,
        "type": type_,
        "endpoint": delivery.endpoint,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "status": delivery.status,
        "error": delivery.error,
        "due_at": None if delivery.settled_at else _at(delivery.due_at),
        "settled_at": _at(delivery.settled_at),
    }
