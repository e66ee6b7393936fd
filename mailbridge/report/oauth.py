"""OAuth 2.0 access tokens for one mailbox (RFC 6749), by client credentials or a refresh token; each is used until it expires."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import ssl
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx

from mailbridge import log
from mailbridge.config import OAuth2
from mailbridge.errors import LoginRefused, MailboxError, MailbridgeError
from mailbridge.myfax.transport import default_tls
from mailbridge.report.token_keeper import TokenKeeper
from mailbridge.store.oauth_tokens import TokenClaim

# Seconds for one request.
TIMEOUT = 30.0
# Bytes. An answer is one or two tokens of a few KB.
MAX_ANSWER = 256 * 1024
# Seconds that a token lives if the provider does not say (RFC 6749 section 5.1). If it expires sooner, a login is refused.
DEFAULT_LIFE = 3600.0
# Seconds before its expiry at which a token is renewed, or a tenth of its life if that is less.
EARLY = 300.0
# Seconds between looks at what another process has got.
_WAIT = 0.5

# A compressed answer could decompress to any size.
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity"}
_TOKEN = re.compile(r"[\x20-\x7e]+")


class Tokens:
    """The access tokens of one mailbox. Tokens by a refresh token are kept by `keeper`, until another is configured.

    `warn` is called with a sentence if they cannot be stored; by default it is logged.
    """

    def __init__(
        self,
        mailbox: str,
        settings: OAuth2,
        keeper: TokenKeeper,
        clock: Callable[[], datetime],
        *,
        warn: Callable[[str], None] | None = None,
        tls: ssl.SSLContext | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self._warn = warn or (lambda error: log.token_not_kept(mailbox, error=error))
        self._settings, self._clock, self._tls, self._timeout = settings, clock, tls, timeout
        self._mailbox, self._keeper = mailbox, keeper
        self._configured = settings.refresh_token.get_secret_value() if settings.refresh_token else None
        named = f"{settings.token_url}\n{settings.client_id}\n{self._configured}"
        self._digest = hashlib.sha256(named.encode()).hexdigest()
        self._token, self._renew_at, self._refused = "", clock(), ""
        self._unsaved: str | None = None

    @property
    def expired(self) -> bool:
        """Whether the last access token has expired, or nearly: a reason for a server to end the connection."""
        return self._clock() >= self._renew_at

    def invalidate(self) -> None:
        """Request a new token the next time: the server refused this one."""
        self._token, self._refused = "", self._token

    async def token(self) -> tuple[str, bool]:
        """Return an access token, and whether it is new. Raises MailboxError with the provider's text."""
        if self._token and not self.expired:
            return self._token, False
        if self._configured is None:
            self._token, self._renew_at, _ = await self._new(None)
            return self._token, True
        claim = await self._claim()
        if claim.access_token is not None and claim.renew_at is not None:
            self._token, self._renew_at = claim.access_token, claim.renew_at
            return self._token, False
        refresh = self._unsaved or claim.refresh_token or self._configured
        try:
            self._token, self._renew_at, rotated = await self._new(refresh)
        except BaseException:
            with contextlib.suppress(MailbridgeError):  # the claim ends by itself
                await self._keeper.release(self._mailbox)
            raise
        await self._keep(refresh, rotated)
        return self._token, True

    async def _claim(self) -> TokenClaim:
        """Return the token of another process, or the task to ask for one; wait while another process asks."""
        while True:
            claim = await self._keeper.claim(self._mailbox, self._digest, self._refused)
            if not claim.wait:
                return claim
            await asyncio.sleep(_WAIT)

    async def _new(self, refresh: str | None) -> tuple[str, datetime, str | None]:
        """Return a new access token, when it is too old, and the refresh token that replaces the given one."""
        requested_at = self._clock()
        answer = await self._request(refresh)
        token, life = answer.get("access_token"), _seconds(answer.get("expires_in"))
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise MailboxError(f"{self._host} answered without an access token")
        rotated = answer.get("refresh_token")
        renew_at = requested_at + timedelta(seconds=life - min(EARLY, life / 10))
        return token, renew_at, rotated if isinstance(rotated, str) and rotated else None

    async def _keep(self, used: str, rotated: str | None) -> None:
        """Store the new tokens. If that fails it warns, and tries again with the next access token."""
        newest = rotated or used
        replaced = newest if newest != self._configured else None
        try:
            await self._keeper.keep(self._mailbox, self._digest, replaced, self._token, self._renew_at)
        except MailbridgeError as error:
            if replaced is not None:
                self._unsaved = replaced
                self._warn(f"the renewed refresh token cannot be stored ({error})")
        else:
            self._unsaved = None

    @property
    def _host(self) -> str:
        return urlsplit(self._settings.token_url).hostname or "the token endpoint"

    async def _request(self, refresh: str | None) -> dict[str, Any]:
        """Request a token with the refresh token (RFC 6749 section 6), or by client credentials (section 4.4)."""
        secret = self._settings.client_secret.get_secret_value() if self._settings.client_secret else None
        form = {
            "grant_type": "client_credentials" if refresh is None else "refresh_token",
            "client_id": self._settings.client_id,
            "client_secret": secret,
            "scope": self._settings.scope,
            "refresh_token": refresh,
        }
        status, body = await self._post({key: value for key, value in form.items() if value is not None})
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if status == 200 and isinstance(answer, dict):
            return answer
        reason = _refusal(answer, (secret, refresh, self._configured)) or f"HTTP {status}"
        # RFC 6749 section 5.2: what is wrong stays wrong until a person changes it. Other statuses may pass.
        refused = status in (400, 401, 403)
        raise (LoginRefused if refused else MailboxError)(f"{self._host} gives no token: {reason}")

    async def _post(self, form: dict[str, str]) -> tuple[int, bytes]:
        context = self._tls or default_tls()
        body = bytearray()
        try:
            async with (
                asyncio.timeout(self._timeout),
                httpx.AsyncClient(verify=context, follow_redirects=False, timeout=self._timeout, trust_env=False) as http,
                http.stream("POST", self._settings.token_url, data=form, headers=_HEADERS) as answer,
            ):
                async for piece in answer.aiter_raw():
                    body += piece
                    if len(body) > MAX_ANSWER:
                        raise MailboxError(f"the answer of {self._host} has no end")
                return answer.status_code, bytes(body)
        except (TimeoutError, httpx.TimeoutException):
            raise MailboxError(f"{self._host} gives no token within {self._timeout:g} s") from None
        except httpx.HTTPError as error:
            raise MailboxError(f"{self._host} gives no token: {type(error).__name__}: {str(error)[:200]}") from None
        except httpx.InvalidURL:
            raise MailboxError("oauth2.token_url is not a valid URL") from None


def _seconds(value: object) -> float:
    """Return how long a token lives, in seconds; some providers write the number as a string."""
    try:
        life = float(value) if isinstance(value, int | float | str) else DEFAULT_LIFE
    except (ValueError, OverflowError):
        return DEFAULT_LIFE
    return life if 0 < life < 10 * 365 * 86400 else DEFAULT_LIFE


def _refusal(answer: object, secrets: Iterable[str | None]) -> str | None:
    """Return `error: error_description` of a refusal (RFC 6749 section 5.2), printable and without secrets that it repeats."""
    if not isinstance(answer, dict):
        return None
    texts = [answer[key] for key in ("error", "error_description") if isinstance(answer.get(key), str)]
    text = " ".join(": ".join(texts).split())
    for secret in sorted(filter(None, secrets), key=len, reverse=True):  # one may begin with another
        text = text.replace(secret, "***")
    return "".join(character if character.isprintable() else "�" for character in text)[:500]
