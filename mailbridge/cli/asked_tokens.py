"""The OAuth 2.0 tokens that the daemon uses, or the store while no daemon runs, for `check --online`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from mailbridge.cli.store_query import ask
from mailbridge.errors import ControlError
from mailbridge.model import new_id
from mailbridge.report.token_keeper import FileKeeper
from mailbridge.store.oauth_tokens import TokenClaim


class AskedTokens:
    """A TokenKeeper. While there is no database yet it keeps them in files, which the first start takes over."""

    def __init__(self, config_path: Path, state_dir: Path, warn: Callable[[str], None]) -> None:
        self._config_path, self._id, self._files = config_path, new_id("ask"), FileKeeper(state_dir, warn)
        self._in_files = False

    async def claim(self, mailbox: str, configured: str, refused: str) -> TokenClaim:
        """See `TokenKeeper`."""
        try:
            found = await self._ask("claim_token", mailbox=mailbox, configured=configured, refused=refused, by=self._id)
        except ControlError:
            self._in_files = True
            return await self._files.claim(mailbox, configured, refused)
        at = found["renew_at"]
        claim = TokenClaim(**found | {"renew_at": at and datetime.fromisoformat(at)})
        if claim == TokenClaim():
            return await self._files.claim(mailbox, configured, refused)
        return claim

    async def keep(self, mailbox: str, configured: str, refresh_token: str | None, access_token: str, renew_at: datetime) -> None:
        """See `TokenKeeper`."""
        if self._in_files:
            await self._files.keep(mailbox, configured, refresh_token, access_token, renew_at)
            return
        tokens = {"refresh_token": refresh_token, "access_token": access_token, "renew_at": renew_at.isoformat()}
        await self._ask("keep_token", mailbox=mailbox, configured=configured, **tokens)

    async def release(self, mailbox: str) -> None:
        """See `TokenKeeper`."""
        if not self._in_files:
            await self._ask("release_token", mailbox=mailbox, by=self._id)

    async def _ask(self, command: str, **args: object) -> Any:
        return await asyncio.to_thread(partial(ask, self._config_path, command, **args))
