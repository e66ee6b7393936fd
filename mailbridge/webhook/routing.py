"""Which endpoints an event is delivered to: those whose patterns and filters it passes. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from fnmatch import fnmatchcase
from typing import Any

from mailbridge.config import Webhook
from mailbridge.model import Event
from mailbridge.phone.number import parse_number

Filter = Callable[[Mapping[str, Any]], bool]


class Routes:
    """Routes events to endpoints, by the patterns of `webhook.NAME.events` and the webhook's filters.

    `region` is that of numbers without a country code. Raises NumberFault for an invalid filter of numbers.
    """

    def __init__(self, webhooks: Mapping[str, Webhook], region: str = "IL") -> None:
        self._patterns = {name: webhook.events for name, webhook in webhooks.items()}
        self._filters = {name: _filters(webhook, region) for name, webhook in webhooks.items()}

    def endpoints(self, event: Event) -> list[str]:
        """Return the names of the endpoints that have a pattern, such as `fax.*`, for this type, and whose filters it passes."""
        return [
            name
            for name, patterns in self._patterns.items()
            if any(fnmatchcase(event.type, pattern) for pattern in patterns)
            and all(passes(event.data) for passes in self._filters[name])
        ]


def _filters(webhook: Webhook, region: str) -> list[Filter]:
    """Return the filters that are set. An event that has no such value passes none of them."""
    fields = (("account", webhook.accounts), ("user", webhook.users), ("mailbox", webhook.mailboxes))
    filters = [_one_of(name, wanted) for name, wanted in fields if wanted]
    if webhook.numbers:
        filters.append(_numbers(tuple(_prefix(number, region) for number in webhook.numbers)))
    if webhook.tags:
        filters.append(_tags(webhook.tags))
    return filters


def _one_of(name: str, wanted: Collection[str]) -> Filter:
    return lambda data: data.get(name) in wanted


def _numbers(prefixes: tuple[str, ...]) -> Filter:
    return lambda data: any((data.get(side) or "").startswith(prefixes) for side in ("to", "from"))


def _prefix(written: str, region: str) -> str:
    """Return a number in E.164, or the digits of a prefix with its plus."""
    return re.sub(r"[^0-9+]", "", written) if written.startswith("+") else parse_number(written, region)


def _tags(alternatives: Collection[Collection[tuple[str, str]]]) -> Filter:
    def passes(data: Mapping[str, Any]) -> bool:
        tags = data.get("tags") or {}
        return any(all(key in tags and fnmatchcase(tags[key], wanted) for key, wanted in one) for one in alternatives)

    return passes
