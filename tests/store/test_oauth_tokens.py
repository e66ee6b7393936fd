"""P18: a refresh token rotates once for all nodes."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from mailbridge import log
from mailbridge.config import OAuth2
from mailbridge.errors import MailboxError
from mailbridge.report.oauth import Tokens
from mailbridge.report.token_keeper import StoreKeeper
from mailbridge.store.interface import Store
from mailbridge.store.oauth_tokens import _ASKING, TokenClaim
from tests.factories import NOW
from tests.integration.test_oauth import REFRESH, Clock, Provider, a_provider, by_refresh
from tests.store import factories
from tests.store.factories import a_store, ask, with_store
from tests.wait_helpers import until

pytestmark = pytest.mark.usefixtures("database")


def tokens(store: Store, path: Path, settings: OAuth2, clock: Clock | None = None) -> Tokens:
    now = clock or Clock()
    return Tokens("of/fice", settings, StoreKeeper(store, now, path), now)


def refreshed(provider: Provider) -> list[str]:
    return [form["refresh_token"] for form in provider.asked]


def test_p18_many_that_need_a_token_at_once_ask_the_provider_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            provider, url = await stack.enter_async_context(a_provider())
            provider.rotates = True
            stores = [await stack.enter_async_context(a_store(tmp_path)) for _ in range(1 if factories.server is None else 3)]
            clock = Clock()
            nodes = [tokens(store, tmp_path, by_refresh(url), clock) for store in stores * 2]
            got = await asyncio.gather(*(node.token() for node in nodes))
            assert {token for token, _ in got} == {"hunter2-access-1"}
            assert [new for _, new in got].count(True) == 1
            # When it is old, one of them uses the token that came with it. A server that refuses it costs one more request.
            clock.ahead = timedelta(hours=1)
            assert {token for token, _ in await asyncio.gather(*(node.token() for node in nodes))} == {"hunter2-access-2"}
            for node in nodes:
                node.invalidate()
            assert {token for token, _ in await asyncio.gather(*(node.token() for node in nodes))} == {"hunter2-access-3"}
            assert refreshed(provider) == [REFRESH, f"{REFRESH}-1", f"{REFRESH}-2"]

    asyncio.run(main())


def test_p18_a_restart_goes_on_with_the_token_until_another_is_configured(tmp_path: Path) -> None:
    async def main() -> None:
        async with a_provider() as (provider, url):
            provider.rotates = True

            async def token(settings: OAuth2) -> str:
                async with a_store(tmp_path) as store:
                    return (await tokens(store, tmp_path, settings).token())[0]

            assert [await token(by_refresh(url)) for _ in range(2)] == ["hunter2-access-1"] * 2
            provider.refresh = "hunter2-other"
            assert await token(by_refresh(url, "hunter2-other")) == "hunter2-access-2"
            assert refreshed(provider) == [REFRESH, "hunter2-other"]

    asyncio.run(main())


def test_a_file_of_an_earlier_version_that_cannot_be_read_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configured token may be one that the provider accepts no more: somebody must hear why."""
    logged = list[str]()
    monkeypatch.setattr(log, "token_not_kept", lambda _, error: logged.append(error))

    async def main() -> None:
        async with a_provider() as (provider, url), a_store(tmp_path) as store:
            (tmp_path / "oauth2-of%2Ffice.json").mkdir(parents=True)
            await tokens(store, tmp_path, by_refresh(url)).token()
            assert refreshed(provider) == [REFRESH]

    asyncio.run(main())
    assert logged == [f"{tmp_path / 'oauth2-of%2Ffice.json'} cannot be read (IsADirectoryError)"]


def test_p18_the_refresh_token_in_the_file_of_an_earlier_version_moves_into_the_store(tmp_path: Path) -> None:
    async def main() -> None:
        async with a_provider() as (provider, url), a_store(tmp_path) as store:
            provider.refresh = "hunter2-kept"
            node = tokens(store, tmp_path, by_refresh(url))
            file = tmp_path / "oauth2-of%2Ffice.json"
            file.parent.mkdir(exist_ok=True)
            file.write_text(json.dumps({"configured": node._digest, "refresh_token": "hunter2-kept"}), encoding="utf-8")
            await node.token()
            assert not file.exists()
            again = tokens(store, tmp_path, by_refresh(url))
            node.invalidate()
            again._refused = "hunter2-access-1"
            await again.token()
            assert refreshed(provider) == ["hunter2-kept"] * 2

    asyncio.run(main())
    assert ask(tmp_path, "SELECT refresh_token FROM oauth_token") == [("hunter2-kept",)]


def test_p18_while_one_asks_others_wait_until_it_has_failed_or_was_killed(tmp_path: Path) -> None:
    async def scenario(store: Store) -> None:
        async def claim(by: str, now: datetime = NOW) -> TokenClaim:
            return await store.run(lambda tx: tx.oauth_tokens.claim("office", "digest", "", by, now))

        waiting, asking = TokenClaim(wait=True), TokenClaim()
        assert [await claim(by) for by in ("one", "two", "one")] == [asking, waiting, asking]
        await store.run(lambda tx: tx.oauth_tokens.release("office", "two"))
        assert await claim("two") == waiting
        await store.run(lambda tx: tx.oauth_tokens.release("office", "one"))
        assert [await claim(by) for by in ("two", "one")] == [asking, waiting]
        # It was killed; or the clock was set back.
        assert await claim("one", NOW + _ASKING) == asking
        assert await claim("two", NOW - timedelta(days=1)) == asking

    with_store(tmp_path, scenario)


def test_p18_a_process_that_was_stopped_while_it_asked_replaces_no_newer_tokens(tmp_path: Path) -> None:
    async def scenario(store: Store) -> None:
        async def claim(by: str, now: datetime) -> TokenClaim:
            return await store.run(lambda tx: tx.oauth_tokens.claim("office", "digest", "refused", by, now))

        async def keep(refresh_token: str, access_token: str, renew_at: datetime) -> None:
            await store.run(lambda tx: tx.oauth_tokens.keep("office", "digest", refresh_token, access_token, renew_at))

        hour, later = timedelta(hours=1), NOW + _ASKING
        assert [await claim("stopped", NOW), await claim("other", later)] == [TokenClaim()] * 2
        await keep("hunter2-other", "access", later + hour)
        await keep("hunter2-stopped", "refused", NOW + hour)
        assert (await claim("third", later)).access_token == "access"
        # One who asks now is not late, even if the provider gives a shorter life.
        await store.run(lambda tx: tx.oauth_tokens.claim("office", "digest", "access", "third", later))
        await keep("hunter2-third", "short", later + hour / 2)
        assert (await claim("fourth", later)).access_token == "short"
        assert (await claim("fourth", later + hour)).refresh_token == "hunter2-third"

    with_store(tmp_path, scenario)


def test_p18_a_provider_that_gives_nothing_lets_the_next_one_ask(tmp_path: Path) -> None:
    async def main() -> None:
        async with a_provider() as (provider, url), a_store(tmp_path) as store:
            provider.refusal = "invalid_grant", "over"
            one, two = (tokens(store, tmp_path, by_refresh(url)) for _ in range(2))
            for node in (one, two):
                with pytest.raises(MailboxError):
                    await node.token()
            provider.refusal = None
            waiting = [asyncio.create_task(node.token()) for node in (one, two)]
            await until(lambda: all(task.done() for task in waiting))
            assert refreshed(provider) == [REFRESH] * 3

    asyncio.run(main())
