"""Queries of deliveries and their tries, answered as JSON."""

from __future__ import annotations

from typing import Any, get_args

from mailbridge.control.ids import whole_event_or_delivery_id
from mailbridge.control.queries import delivery_as_json, json_time, read_filter
from mailbridge.errors import ControlError, NotFound
from mailbridge.lifecycle import DeliveryState
from mailbridge.store.interface import Store, Transaction
from mailbridge.store.search import EventFilter
from mailbridge.store.webhook_records import DeliveryTry


async def deliveries(
    store: Store,
    *,
    dead: bool = False,
    limit: int = 100,
    state: DeliveryState | None = None,
    endpoint: str | None = None,
    event: str | None = None,
    since: str | None = None,
    until: str | None = None,
) -> list[dict[str, Any]]:
    """Return deliveries, newest first; with arguments, only those; with the id of an `event`, also every try of each.

    `stopped` says whether the endpoint is stopped by a 410. Raises NotFound, and ControlError for an unknown state or a bad time.
    """
    wanted = "dead" if dead else state
    if wanted is not None and wanted not in get_args(DeliveryState):
        raise ControlError(f"unknown state {wanted!r}; use one of {', '.join(get_args(DeliveryState))}")
    times = read_filter(EventFilter, {"since": since, "until": until})

    def work(tx: Transaction) -> list[dict[str, Any]]:
        event_id = None if event is None else _event_id(tx, event)
        found = tx.deliveries.newest(wanted, event_id, limit, endpoint=endpoint, since=times.since, until=times.until)
        stopped = set(tx.stopped_webhooks.names())
        listed = [{**delivery_as_json(one, _event_type(tx, one.event_id)), "stopped": one.endpoint in stopped} for one in found]
        return listed if event is None else _with_tries(tx, listed)

    return await store.run(work)


def _event_id(tx: Transaction, id: str) -> str:
    """Return the id of an event, by its own or that of one of its deliveries."""
    whole = whole_event_or_delivery_id(tx, id)
    return tx.deliveries.get(whole).event_id if whole.startswith("dlv_") else tx.events.get(whole).id


def _with_tries(tx: Transaction, listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    tries = tx.deliveries.tries([one["id"] for one in listed])
    return [{**one, "tries": [_try(made) for made in tries if made.delivery_id == one["id"]]} for one in listed]


def _try(made: DeliveryTry) -> dict[str, Any]:
    return {"at": json_time(made.at), **{name: getattr(made, name) for name in ("milliseconds", "status", "error", "answer")}}


def _event_type(tx: Transaction, event_id: str) -> str | None:
    try:
        return tx.events.get(event_id).type
    except NotFound:
        return None
