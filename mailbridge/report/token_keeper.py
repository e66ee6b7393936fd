"""Where the OAuth 2.0 tokens of mailboxes are kept: in the store, or in a file while there is no store yet."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from mailbridge import log
from mailbridge.errors import StoreUnavailable
from mailbridge.model import new_id
from mailbridge.store.fsync import sync_directory
from mailbridge.store.interface import Store
from mailbridge.store.oauth_tokens import TokenClaim


class TokenKeeper(Protocol):
    """Keeps tokens by mailbox. `configured` is the digest of the configuration that they belong to. Raises StoreUnavailable."""

    async def claim(self, mailbox: str, configured: str, refused: str) -> TokenClaim:
        """Return what to do for an access token that is not `refused`, one that a server did not accept.

        Whoever is to ask the provider then calls `keep` or `release`.
        """

    async def keep(self, mailbox: str, configured: str, refresh_token: str | None, access_token: str, renew_at: datetime) -> None:
        """Store what the provider answered; `refresh_token` is None while the configured one is the newest."""

    async def release(self, mailbox: str) -> None:
        """Let others ask: the provider gave nothing."""


class StoreKeeper:
    """Keeps tokens in the store. Earlier versions had a file for each mailbox in `state_dir`, which moves into the store."""

    def __init__(self, store: Store, clock: Callable[[], datetime], state_dir: Path) -> None:
        self._store, self._clock, self._id = store, clock, new_id("ask")
        self._files = FileKeeper(state_dir, lambda error: log.token_not_kept("daemon", error=error))

    async def claim(self, mailbox: str, configured: str, refused: str) -> TokenClaim:
        """See `TokenKeeper`."""
        now, by = self._clock(), self._id
        claim = await self._store.run(lambda tx: tx.oauth_tokens.claim(mailbox, configured, refused, by, now))
        if claim.wait or claim.access_token or claim.refresh_token:
            return claim
        return await self._files.claim(mailbox, configured, refused)

    async def keep(self, mailbox: str, configured: str, refresh_token: str | None, access_token: str, renew_at: datetime) -> None:
        """See `TokenKeeper`."""
        await self._store.run(lambda tx: tx.oauth_tokens.keep(mailbox, configured, refresh_token, access_token, renew_at))
        await asyncio.to_thread(self._files.delete, mailbox)

    async def release(self, mailbox: str) -> None:
        """See `TokenKeeper`."""
        await self._store.run(lambda tx: tx.oauth_tokens.release(mailbox, self._id))


class FileKeeper:
    """Keeps refresh tokens in files, for `check --online` before the first start. `warn` is called if one cannot be read."""

    def __init__(self, state_dir: Path, warn: Callable[[str], None] = lambda _: None) -> None:
        self._state_dir, self._warn = state_dir, warn

    async def claim(self, mailbox: str, configured: str, refused: str) -> TokenClaim:
        """See `TokenKeeper`."""
        return TokenClaim(refresh_token=await asyncio.to_thread(self._read, mailbox, configured))

    async def keep(self, mailbox: str, configured: str, refresh_token: str | None, access_token: str, renew_at: datetime) -> None:
        """See `TokenKeeper`."""
        if refresh_token is not None:
            await asyncio.to_thread(self._write, self._path(mailbox), {"configured": configured, "refresh_token": refresh_token})

    async def release(self, mailbox: str) -> None:
        """Do nothing: the next one may ask at once."""

    def delete(self, mailbox: str) -> None:
        """Delete the file of a mailbox, blocking, if there is one."""
        with suppress(OSError):
            self._path(mailbox).unlink(missing_ok=True)

    def _path(self, mailbox: str) -> Path:
        return self._state_dir / f"oauth2-{quote(mailbox, safe='')[:200]}.json"

    def _read(self, mailbox: str, configured: str) -> str | None:
        path = self._path(mailbox)
        try:
            saved = json.loads(path.read_bytes())
            return str(saved["refresh_token"]) if saved["configured"] == configured else None
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._warn(f"{path} cannot be read ({type(error).__name__})")
            return None

    def _write(self, path: Path, content: dict[str, str]) -> None:
        new = path.with_suffix(".new")
        try:
            new.unlink(missing_ok=True)
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                if os.geteuid() == 0:  # `check --online` may run as root, and the daemon must be able to read the file
                    owner = path.parent.stat()
                    os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
                json.dump(content, file)
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
            sync_directory(path.parent)
        except OSError as error:
            raise StoreUnavailable(f"{path} cannot be written: {error.strerror}") from None
