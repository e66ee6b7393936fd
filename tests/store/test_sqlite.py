"""The store in SQLite: its file, and the lock of the state_dir."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

import pytest

from mailbridge.errors import StateLocked, StoreUnavailable
from mailbridge.store import state_dir
from mailbridge.store.interface import Transaction
from mailbridge.store.sql_store import SqlStore
from mailbridge.store.sqlite import SqliteStore
from mailbridge.store.state_dir import lock_state_dir
from tests.factories import NOW, a_fax, an_envelope
from tests.store.factories import with_store
from tests.wait_helpers import PATIENCE, until


def test_the_store_waits_for_a_process_that_soon_unlocks_the_state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, attempts = lock_state_dir, list[Path]()

    def counted(state_dir: Path) -> int:
        attempts.append(state_dir)
        return lock(state_dir)

    monkeypatch.setattr(state_dir, "lock_state_dir", counted)
    monkeypatch.setattr(state_dir, "_LOCK_INTERVAL", 0.001)

    async def main() -> None:
        first = SqliteStore(tmp_path, lambda fax: {}, lambda type_: [])
        await first.__aenter__()
        second = asyncio.create_task(SqliteStore(tmp_path, lambda fax: {}, lambda type_: [], patience=PATIENCE).__aenter__())
        await until(lambda: len(attempts) > 3)
        assert not second.done()
        await first.__aexit__(None, None, None)
        await (await second).__aexit__(None, None, None)

    asyncio.run(main())


def test_a_second_process_with_the_same_state_dir_is_refused(tmp_path: Path) -> None:
    async def scenario(_: SqlStore) -> None:
        with pytest.raises(StateLocked, match="another mailbridge"):
            await SqliteStore(tmp_path, lambda fax: {}, lambda type_: []).__aenter__()

    with_store(tmp_path, scenario)


def test_a_state_dir_that_cannot_be_used_is_reported(tmp_path: Path) -> None:
    async def scenario(_: SqlStore) -> None:
        pass

    with pytest.raises(StoreUnavailable, match="missing"):
        with_store(tmp_path / "missing" / "state", scenario)
    (tmp_path / "mailbridge.sqlite3").write_bytes(b"not a database, but long enough to have been one" * 50)
    with pytest.raises(StoreUnavailable, match=r"is damaged .*; keep it, and restore a backup"):
        with_store(tmp_path, scenario)


def test_only_the_user_may_read_the_database_and_the_files_beside_it(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        await store.run(lambda tx: tx.submissions.add(an_envelope(), [a_fax()], None, NOW))
        found = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("mailbridge.sqlite3*")}
        assert found == {f"mailbridge.sqlite3{end}": 0o600 for end in ("", "-wal", "-shm")}

    with_store(tmp_path, scenario)


def test_a_large_batch_needs_no_temporary_file(tmp_path: Path) -> None:
    def work(tx: Transaction) -> list[str]:
        for _ in range(500):
            tx.submissions.add(an_envelope(), [a_fax()], None, NOW)
        opened = list[str]()
        for name in os.listdir("/proc/self/fd"):
            with suppress(FileNotFoundError):  # that of the list itself
                opened.append(os.readlink(f"/proc/self/fd/{name}"))
        return [path for path in opened if "etilqs_" in path]

    async def scenario(store: SqlStore) -> None:
        assert await store.run(work) == []

    with_store(tmp_path, scenario)
