"""Which endpoints are told of an event."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from mailbridge.config import Webhook


class Routes:
    """Which endpoints hear of which event types, by the patterns of `webhook.NAME.events`."""

    def __init__(self, webhooks: Mapping[str, Webhook]) -> None:
        self._patterns = {name: webhook.events for name, webhook in webhooks.items()}

    def endpoints(self, type_: str) -> list[str]:
        """Return the names of the endpoints that a pattern such as `fax.*` lets this type reach."""
        return [name for name, patterns in self._patterns.items() if any(fnmatchcase(type_, pattern) for pattern in patterns)]
