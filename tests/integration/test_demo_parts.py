"""The stand-ins of the demo, where the tour meets what it seldom does."""

from __future__ import annotations

import asyncio
import gc
import imaplib
from typing import Any

import pytest

from mailbridge.demo.demo_run import Tour
from mailbridge.demo.mailbox import DemoMailbox


def test_the_mailbox_keeps_its_connections_while_they_wait() -> None:
    """What nothing holds while it waits for a command is garbage to Python 3.13, and its connection closed."""

    async def main() -> str:
        async with DemoMailbox() as box:
            client = await asyncio.to_thread(imaplib.IMAP4, "127.0.0.1", box.port, 10.0)
            gc.collect()
            await asyncio.sleep(0)
            try:
                return (await asyncio.to_thread(client.noop))[0]
            finally:
                client.shutdown()

    assert asyncio.run(main()) == "OK"


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"type": "mailbox.down", "data": {"mailbox": "office", "error": "refused"}}, "webhook mailbox.down refused,"),
        ({"type": "mailbox.up", "data": {"mailbox": "office"}}, "webhook mailbox.up,"),
        (
            {"type": "fax.failed", "data": {"to": "+97239876501", "error": {"code": "busy"}}},
            "webhook fax.failed +97239876501 busy,",
        ),
        ({"type": "fax.queued", "data": {"to": "+97239876543", "error": None}}, "webhook fax.queued +97239876543,"),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_every_event_is_told_in_the_tour(event: dict[str, Any], words: str) -> None:
    said: list[str] = []
    Tour(lambda _, step: said.append(step))._on_event(event)
    assert said == [f"{words} signature verified"]
