"""The pages of webhooks: how each is doing, its deliveries and their tries, and what an operator may do with them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from starlette.responses import Response

from mailbridge.config.model import RESERVED_ENDPOINTS
from mailbridge.console.console import TestAnswer
from mailbridge.console.paging import ROWS, PageOf, page_of, read_before
from mailbridge.console.search_terms import read_day
from mailbridge.console.visit import BadForm, Visit
from mailbridge.control import delivery_actions
from mailbridge.errors import ControlError, NotFound
from mailbridge.lifecycle import DeliveryState
from mailbridge.model import Delivery, Event
from mailbridge.store.interface import Transaction
from mailbridge.store.webhook_records import DeliveryTry, StoppedWebhook

Health = Literal["working", "failing", "stopped", "removed"]
_SHOWN: Final[tuple[DeliveryState, ...]] = ("dead", "pending", "delivered")  # states that a list can be narrowed to


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """One webhook: how many deliveries it has in each state, and since when the oldest of them waits."""

    name: str
    host: str | None  # of its URL, of which the rest may be secret; None if it left the configuration
    counts: dict[DeliveryState, int]
    stopped: StoppedWebhook | None
    oldest: Delivery | None  # that waits
    waits_since: datetime | None  # when its event was emitted
    last: Delivery | None  # the newest one
    test: TestAnswer | None = None  # the last test event

    @property
    def health(self) -> Health:
        """How it is doing."""
        if self.stopped is not None:
            return "stopped"
        if self.host is None:
            return "removed"
        return "failing" if self.gave_up or (self.oldest is not None and self.oldest.error) else "working"

    @property
    def gave_up(self) -> bool:
        """Whether the newest delivery was given up."""
        return self.last is not None and self.last.state == "dead"

    @property
    def waiting(self) -> int:
        """How many deliveries wait or are being sent."""
        return self.counts.get("pending", 0) + self.counts.get("sending", 0)


@dataclass(frozen=True, slots=True)
class Row:
    """One delivery in a list, with its event."""

    delivery: Delivery
    event: Event

    @property
    def number(self) -> str | None:
        """The number of the other side's fax machine; None for an event that is not about a fax."""
        return self.event.data.get("from" if self.event.data.get("direction") == "inbound" else "to")


async def show_webhooks(visit: Visit) -> Response:
    """Show how all webhooks are doing."""
    names = [*visit.console.config.webhooks]

    def work(tx: Transaction) -> list[Hook]:
        known = {name for name, _ in tx.deliveries.counts()} - {*names, *RESERVED_ENDPOINTS}
        return [_hook(visit, tx, name) for name in [*names, *sorted(known)]]

    hooks = await visit.console.runtime.store.run(work)
    return visit.changing_page("webhooks.html", "webhooks_part.html", hooks=hooks)


def _hook(visit: Visit, tx: Transaction, name: str) -> Hook:
    configured = visit.console.config.webhooks.get(name)
    counts = {state: n for (endpoint, state), n in tx.deliveries.counts().items() if endpoint == name}
    oldest = tx.deliveries.oldest_waiting(name)
    return Hook(
        name=name,
        host=None if configured is None else urlsplit(configured.url).hostname,
        counts=counts,
        stopped=tx.stopped_webhooks.get(name),
        oldest=oldest,
        waits_since=None if oldest is None else tx.events.get(oldest.event_id).at,
        last=next(iter(tx.deliveries.newest(endpoint=name, limit=1)), None),
        test=visit.console.tests.get(name),
    )


async def show_webhook(visit: Visit) -> Response:
    """Show one webhook with its deliveries, newest first."""
    name, before = visit.path("name"), read_before(visit.query("before"))
    state = next((one for one in _SHOWN if one == visit.query("state")), None)

    def work(tx: Transaction) -> tuple[Hook, PageOf[Row]]:
        _check_known(visit, tx, name)
        found = tx.deliveries.newest(state, endpoint=name, limit=ROWS + 1, below=before)
        rows = [Row(one, tx.events.get(one.event_id)) for one in found]
        return _hook(visit, tx, name), page_of(rows, lambda row: row.delivery.id)

    hook, page = await visit.console.runtime.store.run(work)
    return visit.changing_page(
        "webhook.html", "webhook_part.html", hook=hook, page=page, state=state, before=before, states=_SHOWN
    )


def _check_known(visit: Visit, tx: Transaction, name: str) -> None:
    if name in RESERVED_ENDPOINTS or (
        name not in visit.console.config.webhooks and name not in {endpoint for endpoint, _ in tx.deliveries.counts()}
    ):
        raise NotFound("no such webhook")


async def send_test(visit: Visit) -> Response:
    """Send a test event to one webhook, and remember what its receiver answered."""
    name = visit.path("name")
    if name not in visit.console.config.webhooks:
        raise NotFound("no such webhook")
    visit.console.tests[name] = await visit.console.services.ping(name)
    now, actor = visit.now, visit.actor()
    await visit.console.runtime.store.run(lambda tx: tx.audit.note("webhook.test", name, None, actor, now))
    return visit.redirect(f"/webhooks/{name}")


async def replay_all(visit: Visit) -> Response:
    """Replay the dead deliveries of one webhook, all or those of events since a day that the form names."""
    name, form = visit.path("name"), await visit.form()
    written = form.get("since", "").strip()
    day = read_day(written)
    if written and day is None:
        raise BadForm("not a day")
    since = None if day is None else datetime.combine(day, time(), visit.console.zone).astimezone(UTC).isoformat()
    runtime, before, more = visit.console.runtime, "", True
    await runtime.store.run(lambda tx: _check_known(visit, tx, name))
    by: Any = visit.actor()
    while more:
        given: dict[str, Any] = {"endpoint": name, "since": since, **({"before": before} if before else {})}
        try:
            done = await delivery_actions.replay(runtime.store, runtime.clock, by=by, **given)
        except ControlError:  # it never had a delivery
            break
        before, more, by = done["before"], done["more"], None
    return visit.redirect(f"/webhooks/{name}", "replayed")


async def show_delivery(visit: Visit) -> Response:
    """Show one delivery with every try and what the receiver answered."""
    id_ = visit.path("id")

    def work(tx: Transaction) -> tuple[Delivery, Event, Sequence[DeliveryTry]]:
        delivery = tx.deliveries.get(id_)
        return delivery, tx.events.get(delivery.event_id), tx.deliveries.tries([id_])

    delivery, event, tries = await visit.console.runtime.store.run(work)
    body = None if delivery.endpoint in RESERVED_ENDPOINTS else _body(visit.console.services.render_event(event))
    return visit.page("delivery.html", delivery=delivery, event=event, tries=tries, body=body)


def _body(content: bytes) -> str:
    """Return the body of an event for people, without what would give a document away: its link and its content."""
    body = json.loads(content)
    data = body.get("data") or {}
    for document in [data.get("document"), *(data.get("documents") or [])]:
        if isinstance(document, dict):
            document.update({name: "…" for name in ("url", "content") if document.get(name)})
    written = json.dumps(body, ensure_ascii=False, indent=2)
    # Whatever is not shown, or changes the direction of what is, stands as JSON has it in ASCII.
    return "".join(sign if sign.isprintable() or sign == "\n" else json.dumps(sign)[1:-1] for sign in written)


async def replay_one(visit: Visit) -> Response:
    """Replay one dead delivery."""
    id_, runtime = visit.path("id"), visit.console.runtime
    try:
        await delivery_actions.replay(runtime.store, runtime.clock, ids=[id_], by=visit.actor())
    except ControlError:  # somebody else was quicker, or the page was reloaded
        return visit.redirect(f"/deliveries/{id_}")
    return visit.redirect(f"/deliveries/{id_}", "replayed")
