"""Which endpoints an event is delivered to."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from mailbridge.config import Webhook


class Routes:
    """Routes event types to endpoints, by the patterns of `webhook.NAME.events`."""

    def __init__(self, webhooks: Mapping[str, Webhook]) -> None:
        self._patterns = {name: webhook.events for name, webhook in webhooks.items()}

    def endpoints(self, type_: str) -> list[str]:
        """Return the names of the endpoints that have a pattern, such as `fax.*`, that matches this type."""
        return [name for name, patterns in self._patterns.items() if any(fnmatchcase(type_, pattern) for pattern in patterns)]
