"""Mails that wait for the disk are made durable in a batch, and each gets its own result."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mailbridge.errors import StoreUnavailable
from mailbridge.model import new_id
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.spool_file import SpoolFile


def written(spool: LocalSpool, count: int) -> list[SpoolFile]:
    files = [spool.create(new_id("env")) for _ in range(count)]
    for file in files:
        file.write(b"x")
    return files


async def committed(files: list[SpoolFile]) -> list[BaseException | None]:
    return await asyncio.gather(*[file.commit() for file in files], return_exceptions=True)


def test_each_mail_is_synced_and_each_directory_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool, real = LocalSpool(tmp_path / "spool"), os.fsync
    synced: dict[int, int] = {}
    directories, counting = list[int](), threading.Lock()

    def counted(descriptor: int) -> None:
        real(descriptor)
        found = os.fstat(descriptor)
        with counting:
            if stat.S_ISDIR(found.st_mode):
                directories.append(found.st_ino)
            else:
                synced[found.st_ino] = synced.get(found.st_ino, 0) + 1

    monkeypatch.setattr(os, "fsync", counted)
    files = written(spool, 64)
    assert asyncio.run(committed(files)) == [None] * 64
    inodes = {spool.path(file.relpath).stat().st_ino for file in files}
    assert synced == dict.fromkeys(inodes, 1)
    assert {spool.path(file.relpath).parent.stat().st_ino for file in files} <= set(directories)
    assert len(directories) < 32


def test_a_directory_that_cannot_be_synced_fails_its_mails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool, real = LocalSpool(tmp_path / "spool"), os.fsync

    def broken(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(5, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", broken)
    files = written(spool, 3)
    outcomes = asyncio.run(committed(files))
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 3
    assert not spool.healthy
    assert not any(spool.path(file.relpath).exists() for file in files)


def test_an_aborted_mail_does_not_fail_others(tmp_path: Path) -> None:
    spool = LocalSpool(tmp_path / "spool")
    files = written(spool, 5)
    files[2].abort()
    outcomes = asyncio.run(committed(files))
    assert [number for number, outcome in enumerate(outcomes) if outcome is not None] == [2]
    assert [spool.path(file.relpath).exists() for file in files] == [True, True, False, True, True]


def test_without_a_thread_each_mail_fails_and_later_ones_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The executor keeps the work that it could not start a thread for, and may do it later: then nothing happens."""
    spool = LocalSpool(tmp_path / "spool")

    async def main() -> None:
        loop, kept = asyncio.get_running_loop(), list[Callable[[], object]]()

        def no_thread(_: object, work: Callable[[], object]) -> None:
            kept.append(work)
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(loop, "run_in_executor", no_thread)
            for _ in range(3):
                failed = await committed(written(spool, 20))
                assert {type(error) for error in failed} == {StoreUnavailable}
        for work in kept:
            work()
        await asyncio.sleep(0)
        assert await committed(written(spool, 20)) == [None] * 20
        assert len([path for path in spool.root.rglob("*") if path.is_file()]) == 20

    asyncio.run(main())
