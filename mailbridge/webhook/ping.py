"""Sends a test event to one webhook: `ping`, or a sample of any other type."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from mailbridge.config import Webhook
from mailbridge.model import Event, new_id
from mailbridge.webhook.client import Result, WebhookClient
from mailbridge.webhook.guard import guarded_transport
from mailbridge.webhook.payload import body
from mailbridge.webhook.samples import sample


async def ping(name: str, webhook: Webhook, clock: Callable[[], datetime], type_: str = "ping") -> tuple[Event, Result]:
    """POST a test event as mailbridge sends real ones, whatever the webhook's patterns and filters are; it is not stored.

    Raises KeyError for an unknown type. Errors of the network or the receiver are in the result.
    """
    now = clock()
    data: dict[str, Any] = {"webhook": name} if type_ == "ping" else sample(type_, now)
    event = Event(id=new_id("evt"), type=type_, at=now, fax_id=data.get("fax_id"), seq=data.get("seq", 0), data=data)
    content = body(event, webhook.document, link=_no_link(now), read=lambda _: b"%PDF-1.4", inline_limit=webhook.inline_limit)
    async with guarded_transport(webhook.allow_private) as http:
        return event, await WebhookClient(webhook, clock).post(http, event, content)


def _no_link(now: datetime) -> Callable[[object], tuple[str, datetime]]:
    return lambda _: ("https://fax.example/documents/sample", now)
