"""A webhook receiver as an integrator would write it: it verifies with the Standard Webhooks library and ignores repeats."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

from mailbridge.demo.http import HttpRequest, HttpServer


class Receiver:
    """Listens on loopback.

    `events` are the verified events in order of arrival, each once by its webhook-id, `requests` the headers of all requests, and
    `forged` counts those with a wrong signature. `answers` are the statuses and headers of the next answers.
    """

    def __init__(self, secret: str, on_event: Callable[[dict[str, Any]], None] = lambda _: None) -> None:
        self._verifier, self._on_event = Webhook(secret), on_event
        self._seen: set[str] = set()
        self._arrived = asyncio.Condition()
        self.events: list[dict[str, Any]] = []
        self.requests: list[Mapping[str, str]] = []
        self.answers: deque[tuple[int, dict[str, str]]] = deque()
        self.forged = 0
        self._http = HttpServer(self._receive)

    async def start(self, port: int = 0) -> str:
        """Listen; return the URL to configure."""
        return f"http://127.0.0.1:{await self._http.start(port)}/hooks/fax"

    async def stop(self) -> None:
        """Close the listener and all connections."""
        await self._http.stop()

    async def wait(self, type_: str, timeout: float = 10.0) -> dict[str, Any]:
        """Return the first event of this type; wait up to `timeout` seconds if there is none yet. Raises TimeoutError."""

        def found() -> dict[str, Any] | None:
            return next((event for event in self.events if event["type"] == type_), None)

        async with asyncio.timeout(timeout), self._arrived:
            return await self._arrived.wait_for(found) or {}

    async def _receive(self, request: HttpRequest) -> tuple[int, dict[str, str], bytes]:
        self.requests.append(request.headers)
        if self.answers:
            status, headers = self.answers.popleft()
            return status, headers, b""
        try:
            event = self._verifier.verify(request.body, dict(request.headers))
        except WebhookVerificationError:
            self.forged += 1
            return HTTPStatus.UNAUTHORIZED, {}, b"bad signature"
        if request.headers["webhook-id"] not in self._seen:
            self._seen.add(request.headers["webhook-id"])
            async with self._arrived:
                self.events.append(event)
                self._arrived.notify_all()
            self._on_event(event)
        return HTTPStatus.NO_CONTENT, {}, b""
