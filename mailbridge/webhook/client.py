"""Sends one signed POST to one endpoint (Standard Webhooks 1.0)."""

from __future__ import annotations

import asyncio
import email.utils
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property

import httpx
from standardwebhooks import Webhook as Signer

from mailbridge import __version__
from mailbridge.config import Webhook
from mailbridge.http_connections import basic_login
from mailbridge.model import Event

# The error of a try that ended while the receiver was sent the body, or owed its answer: it may have hung up because of the size.
HUNG_UP = "the connection was lost"
# Bytes of an answer's body that the history of tries keeps.
ANSWER_LIMIT = 512
# Only the status matters. The body of an answer is read so that the connection can be used again, up to these limits (seconds).
_BODY_LIMIT = 64 * 1024
_BODY_TIMEOUT = 1.0
_BODY_CHUNKS = 100
# Characters of the address in a redirect.
_ADDRESS_LIMIT = 200
# Seconds.
_MAX_RETRY_AFTER = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one POST."""

    status: int | None = None  # HTTP status; None without an answer
    error: str | None = None  # what went wrong; None for 2xx
    retry_after: float | None = None  # seconds that Retry-After asks for
    answer: str | None = None  # the beginning of the answer's body; None without an answer
    milliseconds: int = 0  # that it took


class WebhookClient:
    """Sends the events of one endpoint, signed with each of its secrets. `clock` returns the time in UTC."""

    def __init__(self, webhook: Webhook, clock: Callable[[], datetime]) -> None:
        self._webhook, self._clock = webhook, clock
        self._signers = [Signer(secret.get_secret_value()) for secret in webhook.secrets]

    # Not made before the first POST: a URL that httpx cannot read fails a delivery, not the start of the daemon.
    @cached_property
    def _url(self) -> httpx.URL:
        return httpx.URL(self._webhook.url)

    @cached_property
    def _fixed_headers(self) -> dict[str, str]:
        return {
            "content-type": "application/json",
            # A compressed answer would be unreadable in the history of tries.
            "accept-encoding": "identity",
            "user-agent": f"mailbridge/{__version__}",
            **basic_login(self._url),
            **{name.lower(): value.get_secret_value() for name, value in self._webhook.headers.items()},
        }

    async def post(self, http: httpx.AsyncBaseTransport, event: Event, content: bytes) -> Result:
        """POST an event's body. Errors of the network or the receiver are in the result, not raised."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        result = await self._post(http, event, content)
        return replace(result, milliseconds=round(1000 * (loop.time() - began)))

    async def _post(self, http: httpx.AsyncBaseTransport, event: Event, content: bytes) -> Result:
        # httpx's client would follow redirects, keep cookies and log in on request: none of that is for a webhook, and it takes a
        # third of the time of a POST.
        request = httpx.Request("POST", self._url, content=content, headers=self._headers(event, content))
        try:
            async with asyncio.timeout(self._webhook.timeout):
                answer = await http.handle_async_request(request)
        except TimeoutError:
            return Result(error=f"no answer within {self._webhook.timeout:g} s")
        except httpx.HTTPError as error:
            name = type(error).__name__
            if isinstance(error, httpx.ReadError | httpx.WriteError) or "disconnected" in str(error):
                return Result(error=f"{HUNG_UP} ({name}{f': {error}' if str(error) else ''})")
            return Result(error=f"{name}: {error}" if str(error) else name)
        answer.request = request
        start = await _read(answer)
        failure = None if answer.is_success else _error(answer)
        return Result(answer.status_code, failure, self._retry_after(answer), start.decode("utf-8", "replace").replace("\0", "�"))

    def _headers(self, event: Event, content: bytes) -> dict[str, str]:
        now = datetime.fromtimestamp(int(self._clock().timestamp()), UTC)
        # Standard Webhooks 1.0, "Webhook Headers": the id is the same for every attempt, the time is that of this attempt, and
        # there is one signature for each secret, so that a secret can be replaced without a gap.
        return {
            **self._fixed_headers,
            "webhook-id": event.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signer.sign(event.id, now, content.decode()) for signer in self._signers),
        }

    def _retry_after(self, answer: httpx.Response) -> float | None:
        """Return the seconds of Retry-After (RFC 9110 section 10.2.3) of a 429 or 503, at most a day."""
        value = answer.headers.get("retry-after", "")
        if answer.status_code not in (429, 503) or not value:
            return None
        if value.isascii() and value.isdigit():
            return min(float(value), _MAX_RETRY_AFTER)
        try:
            until = email.utils.parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        until = until if until.tzinfo else until.replace(tzinfo=UTC)
        return min(max(0.0, (until - self._clock()).total_seconds()), _MAX_RETRY_AFTER)


def _error(answer: httpx.Response) -> str:
    """Return what an answer other than 2xx means; a redirect with its address, without user and password."""
    error = f"HTTP {answer.status_code}"
    location = answer.headers.get("location", "")
    if not answer.is_redirect or not location:
        return error
    try:
        target = answer.url.join(location).copy_with(userinfo=b"")
    except httpx.InvalidURL as reason:
        return f"{error} to an address that is not valid ({_cut(str(reason))})"
    return f"{error} to {_cut(str(target))}; write that as the url"


def _cut(text: str) -> str:
    return text if len(text) <= _ADDRESS_LIMIT else f"{text[:_ADDRESS_LIMIT]}…"


async def _read(answer: httpx.Response) -> bytes:
    """Read the body if it is short and arrives soon, otherwise close the connection; return its first ANSWER_LIMIT bytes."""
    start = b""
    try:
        async with asyncio.timeout(_BODY_TIMEOUT):
            read = chunks = 0
            assert isinstance(answer.stream, httpx.AsyncByteStream)
            async for chunk in answer.stream:
                start += chunk[: ANSWER_LIMIT - len(start)]
                read, chunks = read + len(chunk), chunks + 1
                if read > _BODY_LIMIT or chunks > _BODY_CHUNKS:
                    break
    except (TimeoutError, httpx.HTTPError):
        pass
    finally:
        await answer.aclose()
    return start
