"""One signed POST to one endpoint (Standard Webhooks 1.0), and what came of it."""

from __future__ import annotations

import asyncio
import email.utils
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
from standardwebhooks import Webhook as Signer

from mailbridge.config import Webhook
from mailbridge.model import Event

# The status says all. An answer's body is read only to use the connection again; a dripping or endless one is cut here.
_ANSWER_LIMIT = 64 * 1024
_ANSWER_SECONDS = 1.0
_LONGEST_RETRY_AFTER = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Result:
    """The HTTP status where one came, what went wrong (None for a 2xx), and the seconds that Retry-After asks for."""

    status: int | None = None
    error: str | None = None
    retry_after: float | None = None


class WebhookClient:
    """Signs and sends the events of one endpoint, with every secret that it has."""

    def __init__(self, webhook: Webhook, clock: Callable[[], datetime]) -> None:
        self._webhook, self._clock = webhook, clock
        self._signers = [Signer(secret.get_secret_value()) for secret in webhook.secrets]

    async def post(self, http: httpx.AsyncClient, event: Event, content: bytes) -> Result:
        """POST an event's body; never raises for what a network or a receiver does."""
        request = http.build_request("POST", self._webhook.url, content=content, headers=self._headers(event, content))
        try:
            async with asyncio.timeout(self._webhook.timeout):
                answer = await http.send(request, stream=True)
        except TimeoutError:
            return Result(error=f"no answer within {self._webhook.timeout:g} s")
        except httpx.HTTPError as error:
            name = type(error).__name__
            return Result(error=f"{name}: {error}" if str(error) else f"the connection broke off ({name})")
        await _read(answer)
        return Result(answer.status_code, None if answer.is_success else f"HTTP {answer.status_code}", self._retry_after(answer))

    def _headers(self, event: Event, content: bytes) -> dict[str, str]:
        now = datetime.fromtimestamp(int(self._clock().timestamp()), UTC)
        return {
            "content-type": "application/json",
            "user-agent": "mailbridge",
            "webhook-id": event.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signer.sign(event.id, now, content.decode()) for signer in self._signers),
        }

    def _retry_after(self, answer: httpx.Response) -> float | None:
        """Return the seconds of Retry-After (RFC 9110 section 10.2.3), at most a day, from a 429 or 503."""
        value = answer.headers.get("retry-after", "")
        if answer.status_code not in (429, 503) or not value:
            return None
        if value.isascii() and value.isdigit():
            return min(float(value), _LONGEST_RETRY_AFTER)
        try:
            until = email.utils.parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        until = until if until.tzinfo else until.replace(tzinfo=UTC)
        return min(max(0.0, (until - self._clock()).total_seconds()), _LONGEST_RETRY_AFTER)


async def _read(answer: httpx.Response) -> None:
    """Read the body where it comes soon and is short, and close the connection where it does not."""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            read = 0
            async for chunk in answer.aiter_raw():
                read += len(chunk)
                if read > _ANSWER_LIMIT:
                    break
    except (TimeoutError, httpx.HTTPError):
        pass
    finally:
        await answer.aclose()
