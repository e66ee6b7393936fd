"""OAuth2 access tokens for one mailbox (RFC 6749): got by client credentials or a refresh token, kept until they end."""

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
from mailbridge.errors import MailboxError
from mailbridge.store.fsync import sync_directory

TIMEOUT = 30.0
# An answer is one or two tokens of a few KB.
MAX_ANSWER = 256 * 1024
# Where the provider does not say how long a token lives; that it ended sooner shows in a refused login.
USUAL_LIFE = 3600.0
# A token is renewed this long before its end, or a tenth of its life where that is less (seconds).
EARLY = 300.0

# A compressed answer could unfold to any size.
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity"}
_TOKEN = re.compile(r"[\x20-\x7e]+")


class Tokens:
    """The access tokens of one mailbox. A rotated refresh token is kept in `state_dir`, and used until another is configured.

    `tell` is told where that cannot be done; by default the log.
    """

    def __init__(
        self,
        mailbox: str,
        settings: OAuth2,
        state_dir: Path,
        clock: Callable[[], datetime],
        *,
        tell: Callable[[str], None] | None = None,
        tls: ssl.SSLContext | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self._tell = tell or (lambda error: log.token_not_kept(mailbox, error=error))
        self._settings, self._clock, self._tls, self._timeout = settings, clock, tls, timeout
        self._path = state_dir / f"oauth2-{quote(mailbox, safe='')[:200]}.json"
        self._configured = settings.refresh_token.get_secret_value() if settings.refresh_token else None
        named = f"{settings.token_url}\n{settings.client_id}\n{self._configured}"
        self._digest = hashlib.sha256(named.encode()).hexdigest()
        self._token, self._renew_at = "", clock()
        self._unkept: str | None = None

    @property
    def ended(self) -> bool:
        """Whether the last access token is at its end, or nearly: a reason for a server to end the connection."""
        return self._clock() >= self._renew_at

    def forget(self) -> None:
        """Ask for a new token the next time: the server did not take this one."""
        self._token = ""

    async def token(self) -> tuple[str, bool]:
        """Return an access token, and whether it was got just now. Raises MailboxError, in the provider's words."""
        if self._token and not self.ended:
            return self._token, False
        refresh = await asyncio.to_thread(self._refresh_token)
        asked = self._clock()
        answer = await self._ask(refresh)
        token, life = answer.get("access_token"), _seconds(answer.get("expires_in"))
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise MailboxError(f"{self._host} answered without an access token")
        rotated = answer.get("refresh_token")
        if refresh is not None and isinstance(rotated, str) and rotated and rotated != refresh:
            self._unkept = rotated
        if self._unkept is not None:
            await asyncio.to_thread(self._keep, self._unkept)
        self._token, self._renew_at = token, asked + timedelta(seconds=life - min(EARLY, life / 10))
        return token, True

    @property
    def _host(self) -> str:
        return urlsplit(self._settings.token_url).hostname or "the token endpoint"

    async def _ask(self, refresh: str | None) -> dict[str, Any]:
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
        words = _refusal(answer, (secret, refresh, self._configured)) or f"HTTP {status}"
        raise MailboxError(f"{self._host} gives no token: {words}")

    async def _post(self, form: dict[str, str]) -> tuple[int, bytes]:
        context = self._tls or httpx.create_ssl_context(trust_env=False)
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
                        raise MailboxError(f"{self._host} answers without an end")
                return answer.status_code, bytes(body)
        except (TimeoutError, httpx.TimeoutException):
            raise MailboxError(f"{self._host} gives no token within {self._timeout:g} s") from None
        except httpx.HTTPError as error:
            raise MailboxError(f"{self._host} gives no token: {type(error).__name__}: {str(error)[:200]}") from None
        except httpx.InvalidURL:
            raise MailboxError("oauth2.token_url is no address") from None

    def _refresh_token(self) -> str | None:
        """Return the refresh token to use: the newest that is known for the configured one. The file may have been renewed."""
        if self._configured is None or self._unkept is not None:
            return self._unkept
        try:
            kept = json.loads(self._path.read_bytes())
            if kept["configured"] == self._digest:
                return str(kept["refresh_token"])
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._tell(f"{self._path} cannot be read ({type(error).__name__})")
        return self._configured

    def _keep(self, rotated: str) -> None:
        """Write a rotated refresh token durably. Where that fails it is told, and tried again with the next access token."""
        fresh = self._path.with_suffix(".new")
        try:
            fresh.unlink(missing_ok=True)
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                if os.geteuid() == 0:  # `check --online` is, and the daemon must be able to read what that left
                    owner = self._path.parent.stat()
                    os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
                json.dump({"configured": self._digest, "refresh_token": rotated}, file)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
            sync_directory(self._path.parent)
        except OSError as error:
            self._tell(f"the renewed refresh token cannot be kept in {self._path}: {error.strerror}")
        else:
            self._unkept = None


def _seconds(value: object) -> float:
    """Return how long a token lives; some providers write the number as a string."""
    try:
        life = float(value) if isinstance(value, int | float | str) else USUAL_LIFE
    except (ValueError, OverflowError):
        return USUAL_LIFE
    return life if 0 < life < 10 * 365 * 86400 else USUAL_LIFE


def _refusal(answer: object, secrets: Iterable[str | None]) -> str | None:
    """Return `error: error_description` of a refusal (RFC 6749 section 5.2), readable and without a secret that it repeats."""
    if not isinstance(answer, dict):
        return None
    told = [answer[key] for key in ("error", "error_description") if isinstance(answer.get(key), str)]
    words = " ".join(": ".join(told).split())
    for secret in sorted(filter(None, secrets), key=len, reverse=True):  # one may begin with another
        words = words.replace(secret, "***")
    return "".join(letter if letter.isprintable() else "�" for letter in words)[:500]
