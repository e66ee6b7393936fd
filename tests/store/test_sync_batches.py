"""Files are made durable in batches, and large ones apart from small ones."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from mailbridge.model import new_id
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.sync_batches import SyncBatches
from tests.wait_helpers import PATIENCE


def test_attack_2_a_small_file_does_not_wait_for_large_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync, go_on, slow = os.fsync, threading.Event(), set[int]()

    def held(descriptor: int) -> None:
        if os.fstat(descriptor).st_size > 2_000_000:
            slow.add(descriptor)
            go_on.wait(PATIENCE)
        fsync(descriptor)

    async def scenario() -> None:
        spool = LocalSpool(tmp_path / "spool")
        large, small = ([spool.create(new_id("env")) for _ in range(20)] for _ in range(2))
        for file in large:
            file.write(b"x" * 2_000_001)
        for file in small:
            file.write(b"x" * 4096)
        monkeypatch.setattr(os, "fsync", held)
        large_ones = [file.begin_commit() for file in large]
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(file.begin_commit() for file in small))
        assert slow
        assert not any(done.done() for done in large_ones)
        go_on.set()
        await asyncio.gather(*large_ones)

    asyncio.run(scenario())


def test_each_mail_of_a_batch_gets_the_error_that_nobody_expected() -> None:
    class Mail:
        closed = False

        def close(self) -> None:
            self.closed = True

        def abort(self) -> None:
            raise AssertionError

    def broken(_: Sequence[Mail]) -> Sequence[Exception | None]:
        raise ZeroDivisionError

    async def scenario() -> None:
        batches, mails = SyncBatches(broken, threads=1, mails=2), [Mail() for _ in range(3)]
        async with asyncio.timeout(PATIENCE):
            errors = await asyncio.gather(*map(batches.add, mails), return_exceptions=True)
        assert [type(error) for error in errors] == [ZeroDivisionError] * 3
        assert all(mail.closed for mail in mails)

    asyncio.run(scenario())
