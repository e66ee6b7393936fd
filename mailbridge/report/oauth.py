"""OAuth 2.0 access tokens for one mailbox (RFC 6749), by client credentials or a refresh token; each is used until it expires."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import ssl
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from mailbridge import log
from mailbridge.config import OAuth2
from mailbridge.errors import LoginRefused, MailboxError
from mailbridge.myfax.transport import default_tls
from mailbridge.store.fsync import sync_directory

# Seconds for one request.
TIMEOUT = 30.0
# Bytes. An answer is one or two tokens of a few KB.
MAX_ANSWER = 256 * 1024
# Seconds that a token lives if the provider does not say (RFC 6749 section 5.1). If it expires sooner, a login is refused.
DEFAULT_LIFE = 3600.0
# Seconds before its expiry at which a token is renewed, or a tenth of its life if that is less.
EARLY = 300.0

# A compressed answer could decompress to any size.
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity"}
_TOKEN = re.compile(r"[\x20-\x7e]+")


class Tokens:
    """The access tokens of one mailbox. A rotated refresh token is stored in `state_dir`, and used until another is configured.

    `warn` is called with a sentence if it cannot be stored; by default it is logged.
    """

    def __init__(
        self,
        mailbox: str,
        settings: OAuth2,
        state_dir: Path,
        clock: Callable[[], datetime],
        *,
        warn: Callable[[str], None] | None = None,
        tls: ssl.SSLContext | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self._warn = warn or (lambda error: log.token_not_kept(mailbox, error=error))
        self._settings, self._clock, self._tls, self._timeout = settings, clock, tls, timeout
        self._path = state_dir / f"oauth2-{quote(mailbox, safe='')[:200]}.json"
        self._configured = settings.refresh_token.get_secret_value() if settings.refresh_token else None
        named = f"{settings.token_url}\n{settings.client_id}\n{self._configured}"
        self._digest = hashlib.sha256(named.encode()).hexdigest()
        self._token, self._renew_at = "", clock()
        self._unsaved: str | None = None

    @property
    def expired(self) -> bool:
        """Whether the last access token has expired, or nearly: a reason for a server to end the connection."""
        return self._clock() >= self._renew_at

    def invalidate(self) -> None:
        """Request a new token the next time: the server refused this one."""
        self._token = ""

    async def token(self) -> tuple[str, bool]:
        """Return an access token, and whether it is new. Raises MailboxError with the provider's text."""
        if self._token and not self.expired:
            return self._token, False
        refresh = await asyncio.to_thread(self._refresh_token)
        requested_at = self._clock()
        answer = await self._request(refresh)
        token, life = answer.get("access_token"), _seconds(answer.get("expires_in"))
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise MailboxError(f"{self._host} answered without an access token")
        rotated = answer.get("refresh_token")
        if refresh is not None and isinstance(rotated, str) and rotated and rotated != refresh:
            self._unsaved = rotated
        if self._unsaved is not None:
            await asyncio.to_thread(self._save, self._unsaved)
        self._token, self._renew_at = token, requested_at + timedelta(seconds=life - min(EARLY, life / 10))
        return token, True

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

    def _refresh_token(self) -> str | None:
        """Return the refresh token to use: the newest that replaced the configured one. Another process may have stored it."""
        if self._configured is None or self._unsaved is not None:
            return self._unsaved
        try:
            saved = json.loads(self._path.read_bytes())
            if saved["configured"] == self._digest:
                return str(saved["refresh_token"])
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._warn(f"{self._path} cannot be read ({type(error).__name__})")
        return self._configured

    def _save(self, rotated: str) -> None:
        """Write a rotated refresh token durably. If that fails it warns, and tries again with the next access token."""
        fresh = self._path.with_suffix(".new")
        try:
            fresh.unlink(missing_ok=True)
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                if os.geteuid() == 0:  # `check --online` may run as root, and the daemon must be able to read the file
                    owner = self._path.parent.stat()
                    os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
                json.dump({"configured": self._digest, "refresh_token": rotated}, file)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
            sync_directory(self._path.parent)
        except OSError as error:
            self._warn(f"the renewed refresh token cannot be stored in {self._path}: {error.strerror}")
        else:
            self._unsaved = None


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
