"""Parts of the demo: the mailbox and the printed steps, beyond what the demo itself shows."""

from __future__ import annotations

import asyncio
import gc
import imaplib
from typing import Any

import pytest

from mailbridge.demo.demo_run import DemoRun
from mailbridge.demo.mailbox import DemoMailbox


def test_the_demo_mailbox_keeps_idle_connections_open() -> None:
    """Python 3.13 garbage-collects a task without a reference, which would close its connection."""

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
def test_every_event_is_printed_as_a_step(event: dict[str, Any], words: str) -> None:
    steps: list[str] = []
    DemoRun(lambda _, step: steps.append(step))._on_event(event)
    assert steps == [f"{words} signature verified"]
