"""Attacks on a whole daemon from servers that it calls."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.e2e.environment import Environment
from tests.integration.webhook_fixtures import raw
from tests.wait_helpers import PATIENCE, until

EVIL = """
[webhook.evil]
url = "{url}"
secret = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
allow_private = true
"""


def test_attack_1_a_receiver_with_endless_fields_does_not_hold_the_daemon(tmp_path: Path) -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n" + b"a:b\r\n" * 18_000 + b"\r\n")

    async def main() -> None:
        async with raw(endless) as (_, url), Environment(tmp_path, more=EVIL.format(url=url)) as env:
            await env.start()
            await env.send("a@example.co.il", ["03-9876543@fax.local"], b"From: a@example.co.il\r\n\r\nhello\r\n")
            failed: list[dict[str, Any]] = []

            async def has_failed() -> bool:
                failed[:] = [one for one in await env.ask("deliveries", endpoint="evil") if one["error"]]
                return bool(failed)

            await until(has_failed)
            assert "too long" in failed[0]["error"]

    asyncio.run(asyncio.wait_for(main(), PATIENCE * 3))
