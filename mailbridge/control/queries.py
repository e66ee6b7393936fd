"""Queries of the store, answered as JSON."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import Any, TypeVar, get_args

from mailbridge.control.ids import whole_fax_id
from mailbridge.errors import ControlError
from mailbridge.lifecycle import FaxState
from mailbridge.model import Attempt, Delivery, Document, Event, Failure, Fax, received_documents
from mailbridge.store.interface import Store, Transaction
from mailbridge.store.search import RECEIVED, EventFilter, FaxFilter
from mailbridge.store.usage import By, Usage, group

F = TypeVar("F", FaxFilter, EventFilter)

# More than any fax has; it bounds the answer.
_ALL_OF_ONE_FAX = 1000


async def queue(store: Store, *, limit: int = 100, **wanted: Any) -> list[dict[str, Any]]:
    """Return faxes, newest first; `wanted` are fields of FaxFilter, times in ISO 8601. Raises ControlError for a bad filter."""
    state = wanted.get("state")
    if state is not None and state not in get_args(FaxState):
        raise ControlError(f"unknown state {state!r}; use one of {', '.join(get_args(FaxState))}")
    given = {name for name, value in wanted.items() if value is not None}
    if given <= {"state"}:
        return [fax_as_json(fax) for fax in await store.run(lambda tx: tx.faxes.newest(state, limit))]
    fax_filter = read_filter(FaxFilter, wanted)
    found, below, more = list[Fax](), None, True
    while more and len(found) < limit:
        page = await store.run(lambda tx, below=below: tx.search.faxes(fax_filter, below))  # type: ignore[misc]  # a default has no type
        found += page.faxes
        below, more = page.below, page.below is not None
    return [fax_as_json(fax) for fax in found[:limit]]


def read_filter(kind: type[F], wanted: dict[str, Any]) -> F:
    """Return the filter that a request's arguments make. Raises ControlError."""
    try:
        times = {name: datetime.fromisoformat(wanted[name]) for name in ("since", "until") if wanted.get(name)}
        return kind(**{**wanted, **times})
    except (TypeError, ValueError) as error:
        raise ControlError(f"invalid selection: {error}") from None


async def received(store: Store, *, limit: int = 100, since: str | None = None, until: str | None = None) -> list[dict[str, Any]]:
    """Return received faxes and voicemails, newest first."""
    found = await _events(store, read_filter(EventFilter, {"types": RECEIVED, "since": since, "until": until}), limit)
    return [received_as_json(event) for event in found]


def received_as_json(event: Event) -> dict[str, Any]:
    """Return a received fax or voicemail as commands print it with `--json`."""
    data = event.data
    kept = ("account", "mailbox", "from", "to", "received_at", "pages", "source", "trusted", "subject")
    names = ("filename", "content_type", "size", "sha256", "pages")
    documents = [
        {**{name: document.get(name) for name in names}, "deleted": not document.get("path")}
        for document in received_documents(data)
    ]
    return {
        "id": event.fax_id,
        "direction": "inbound",
        "type": event.type,
        **{name: data.get(name) for name in kept},
        "document": documents[0] if documents else None,
        "documents": documents,
    }


async def held(store: Store) -> list[str]:
    """Return the accounts whose sending a person holds back; an empty name stands for all."""
    return await store.run(lambda tx: tx.conditions.held_sending())


async def nodes(store: Store) -> list[dict[str, Any]]:
    """Return the daemons that share a PostgreSQL database and were seen in the last day; none with SQLite."""
    times = ("started_at", "seen_at")
    found = await store.run(lambda tx: tx.nodes())
    return [{**node._asdict(), **{name: json_time(getattr(node, name)) for name in times}} for node in found]


async def show(store: Store, *, id: str) -> dict[str, Any]:
    """Return the full history of one fax: attempts, documents, what is not faxed, events and deliveries. Raises NotFound."""

    def work(tx: Transaction) -> dict[str, Any]:
        fax_id = whole_fax_id(tx, id)
        events = list(reversed(tx.events.newest(fax_id, _ALL_OF_ONE_FAX)))
        sent = [(event, tx.deliveries.newest(None, event.id, _ALL_OF_ONE_FAX)) for event in events]
        history = {
            "events": [_event(event) for event in events],
            "deliveries": [delivery_as_json(delivery, event.type) for event, found in sent for delivery in found],
        }
        if incoming := tx.search.received(fax_id):
            passed_on = [_notice(one) for _, found in sent for one in found if one.address is not None]
            return {**received_as_json(incoming), **history, "notices": passed_on}
        fax = tx.faxes.get(fax_id)
        return {
            **fax_as_json(fax),
            "documents": [_document(document) for document in fax.documents],
            "passed_over": tx.submissions.passed_over(fax.envelope_id or ""),
            "attempts": [_attempt(attempt) for attempt in fax.attempts],
            **history,
            "events": [{**_event(event), "notices": _notices(tx, fax, event.id)} for event in events],
            "notices": _notices(tx, fax),
        }

    return await store.run(work)


async def stored_documents(store: Store, *, id: str) -> list[dict[str, Any]]:
    """Return where the spool has the documents of a sent or received fax: fields of Document. Raises NotFound."""

    def work(tx: Transaction) -> list[dict[str, Any]]:
        fax_id = whole_fax_id(tx, id)
        if incoming := tx.search.received(fax_id):
            return [_received_document(document) for document in received_documents(incoming.data)]
        return [asdict(document) for document in tx.faxes.get(fax_id).documents]

    return await store.run(work)


def _received_document(stored: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: stored[name] for name in ("content_type", "size", "sha256", "path")}
    return {**kept, "name": stored.get("filename") or "fax", "offset": 0, "length": stored["size"], "encoding": "identity"}


async def events(
    store: Store,
    render: Callable[[Event], bytes],
    *,
    raw: bool = False,
    fax: str | None = None,
    limit: int = 100,
    type: str | None = None,
    since: str | None = None,
    until: str | None = None,
) -> list[dict[str, Any]]:
    """Return events, newest first; with arguments, only those of a fax, a type or a time. Raises NotFound, ControlError.

    `data` and `timestamp` are those of the body that `render` makes, as it is delivered; with `raw`, `data` is that of the row.
    """
    shown = _event if raw else partial(_delivered_event, render=render)
    fax_id = None if fax is None else await store.run(lambda tx: whole_fax_id(tx, fax))
    if (type, since, until) == (None, None, None):
        return [shown(event) for event in await store.run(lambda tx: tx.events.newest(fax_id, limit))]
    wanted = {"types": None if type is None else (type,), "fax_id": fax_id, "since": since, "until": until}
    return [shown(event) for event in await _events(store, read_filter(EventFilter, wanted), limit)]


async def _events(store: Store, wanted: EventFilter, limit: int) -> list[Event]:
    found, below, more = list[Event](), None, True
    while more and len(found) < limit:
        page = await store.run(lambda tx, below=below: tx.search.events(wanted, below))  # type: ignore[misc]  # a default has no type
        found += page.events
        below, more = page.below, page.below is not None
    return sorted(found, key=lambda event: (event.at, event.seq, event.id), reverse=True)[:limit]


async def usage(store: Store, *, since: str, until: str, by: By = "user") -> list[dict[str, Any]]:
    """Return how many faxes were accepted in this time and what became of them, a row for each user, account or tag."""
    times = read_filter(EventFilter, {"since": since, "until": until})
    if times.since is None or times.until is None or by not in get_args(By):
        raise ControlError("usage needs a time, and user, account or tag")
    start, end = times.since, times.until
    groups: defaultdict[str, Usage] = defaultdict(Usage)
    below, more = None, True
    while more:
        page, below = await store.run(lambda tx, below=below: tx.search.usage(start, end, below))  # type: ignore[misc]  # a default has no type
        group(page, by, groups)
        more = below is not None
    return [{by: name, **asdict(one), "price": str(one.price)} for name, one in sorted(groups.items())]


def _notices(tx: Transaction, fax: Fax, event_id: str | None = None) -> list[dict[str, Any]]:
    """Return the notices to the sender of a fax, oldest first; with `event_id`, only those about that event."""
    found = tx.notices.of_mail(fax.envelope_id) if fax.envelope_id else []
    return [
        _notice(one)
        for one in found
        if any(block["fax_id"] == fax.id and event_id in (None, block.get("event_id")) for block in (one.notice or {})["blocks"])
    ]


def _notice(one: Delivery) -> dict[str, Any]:
    return {"to": one.address, "kind": (one.notice or {})["kind"], "state": one.state, "id": one.id}


def json_time(time: datetime | None) -> str | None:
    """Return a time in ISO 8601, with milliseconds."""
    return None if time is None else time.isoformat(timespec="milliseconds")


def fax_as_json(fax: Fax) -> dict[str, Any]:
    """Return a fax as commands print it with `--json`."""
    return {
        "id": fax.id,
        "state": fax.state,
        "number": fax.number,
        "account": fax.account,
        "created_at": json_time(fax.created_at),
        "due_at": None if fax.final_at else json_time(fax.due_at),
        "send_at": json_time(fax.due_at) if fax.state == "queued" and not fax.attempts and fax.due_at > fax.created_at else None,
        "final_at": json_time(fax.final_at),
        "pages": fax.pages,
        "fax_code": fax.fax_code,
        "token": fax.token,
        "tries": len(fax.attempts),
        "polls": fax.polls,
        "failure": _failure(fax.failure),
        "price": fax.price,
        "currency": fax.currency,
        "source": fax.source,
        "sender": fax.email.sender,
        "subject": fax.email.subject,
        "message_id": fax.email.message_id,
        "tags": dict(fax.tags),
        "user": fax.user,
        "client": fax.client,
        "repeat_of": fax.repeat_of,
        "restored_at": json_time(fax.restored_at),
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
        "started_at": json_time(attempt.started_at),
        "whole_at": json_time(attempt.whole_at),
        "ended_at": json_time(attempt.ended_at),
        "fax_code": attempt.fax_code,
        "error_code": attempt.error_code,
    }


def _delivered_event(event: Event, render: Callable[[Event], bytes]) -> dict[str, Any]:
    body = json.loads(render(event))
    return {**_event(event), "timestamp": body["timestamp"], "data": body["data"]}


def _event(event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "type": event.type,
        "at": json_time(event.at),
        "fax_id": event.fax_id,
        "seq": event.seq,
        "data": dict(event.data),
    }


def delivery_as_json(delivery: Delivery, type_: str | None) -> dict[str, Any]:
    """Return a delivery as commands print it with `--json`."""
    return {
        "id": delivery.id,
        "event_id": delivery.event_id,
        "type": type_,
        "endpoint": delivery.endpoint,
        "to": delivery.address,
        "notice": (delivery.notice or {}).get("kind"),
        "state": delivery.state,
        "attempts": delivery.attempts,
        "status": delivery.status,
        "error": delivery.error,
        "due_at": None if delivery.settled_at else json_time(delivery.due_at),
        "settled_at": json_time(delivery.settled_at),
    }
