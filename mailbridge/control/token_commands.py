"""OAuth 2.0 tokens, for `check --online`: it uses those of the daemon, and what it renews is stored for all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from mailbridge.store.interface import Store

Clock = Callable[[], datetime]


async def claim_token(store: Store, clock: Clock, *, mailbox: str, configured: str, refused: str, by: str) -> dict[str, Any]:
    """Return the fields of a `TokenClaim`. See `report.token_keeper`."""
    claim = await store.run(lambda tx: tx.oauth_tokens.claim(mailbox, configured, refused, by, clock()))
    return claim._asdict() | {"renew_at": claim.renew_at and claim.renew_at.isoformat()}


async def keep_token(
    store: Store, _: Clock, *, mailbox: str, configured: str, refresh_token: str | None, access_token: str, renew_at: str
) -> None:
    """Store what the provider answered."""
    at = datetime.fromisoformat(renew_at)
    await store.run(lambda tx: tx.oauth_tokens.keep(mailbox, configured, refresh_token, access_token, at))


async def release_token(store: Store, _: Clock, *, mailbox: str, by: str) -> None:
    """Let others ask the provider."""
    await store.run(lambda tx: tx.oauth_tokens.release(mailbox, by))
