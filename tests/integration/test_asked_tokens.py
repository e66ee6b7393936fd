"""`check --online` uses the tokens of the daemon's store, and keeps in a file what it renews before there is a store."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from mailbridge.cli.asked_tokens import AskedTokens
from mailbridge.config import load
from mailbridge.report.token_keeper import StoreKeeper
from mailbridge.store.oauth_tokens import TokenClaim
from mailbridge.stores import open_store
from tests.integration.webhook_fixtures import now

CONFIG = """
state_dir = "{state}"
smtp.domains = ["fax.example.co.il"]
[account.office]
email = "office@example.co.il"
password = "x"
"""


def test_tokens_come_from_the_store_while_no_daemon_runs_and_from_a_file_before_there_is_one(tmp_path: Path) -> None:
    async def main() -> None:
        path, state = tmp_path / "config.toml", tmp_path / "state"
        path.write_text(CONFIG.format(state=state), encoding="utf-8")
        state.mkdir()
        soon = now() + timedelta(hours=1)

        async def claim() -> TokenClaim:
            return await AskedTokens(path, state, print).claim("office", "digest", "")

        first = AskedTokens(path, state, print)
        assert await first.claim("office", "digest", "") == TokenClaim()
        await first.release("office")
        await first.keep("office", "digest", "hunter2-1", "access", soon)
        assert (await claim()).refresh_token == "hunter2-1"
        async with open_store(load(path, {})) as store:
            daemon = StoreKeeper(store, now, state)
            assert (await daemon.claim("office", "digest", "")).refresh_token == "hunter2-1"
            await daemon.keep("office", "digest", "hunter2-2", "access-2", soon)
        assert await claim() == TokenClaim(access_token="access-2", renew_at=soon)
        later = AskedTokens(path, state, print)
        assert (await later.claim("office", "digest", "access-2")).refresh_token == "hunter2-2"
        assert (await AskedTokens(path, state, print).claim("office", "digest", "access-2")).wait
        await later.keep("office", "digest", "hunter2-3", "access-3", soon)
        assert (await claim()).access_token == "access-3"

    asyncio.run(main())
