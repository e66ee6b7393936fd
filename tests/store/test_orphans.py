"""Orphans: files that a crash left without a row are deleted at start, and no others."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from mailbridge.store import orphans
from mailbridge.store.interface import Transaction
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.retention import Retention
from mailbridge.store.sql_store import SqlStore
from tests.factories import NOW
from tests.store.factories import a_mail, settle_all, with_store

YESTERDAY = NOW - timedelta(days=1)


def left(spool: LocalSpool, *relpaths: str, at: datetime = YESTERDAY) -> list[Path]:
    paths = [spool.root / relpath for relpath in relpaths]
    for path in paths:
        path.write_bytes(b"x")
        os.utime(path, (at.timestamp(), at.timestamp()))
    return paths


def age_all(spool: LocalSpool) -> None:
    for path in spool.root.rglob("*"):
        os.utime(path, (YESTERDAY.timestamp(), YESTERDAY.timestamp()))


def test_files_without_a_record_are_deleted_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spool = LocalSpool(tmp_path / "spool")

    async def scenario(store: SqlStore) -> None:
        [fax] = await a_mail(store, spool, "queued")
        received = spool.store_received("fax_in", b"%PDF")
        await store.run(lambda tx: tx.events.emit("fax.received", {"document": {"path": received}}, NOW, "fax_in"))
        mails = left(spool, "mail/00/env_a.eml", "mail/00/env_a.derived", "mail/01/env_b.page.pdf")
        lost = [*mails, *left(spool, "received/3f/fax_c")]
        foreign = left(spool, "mail/00/notes.txt", "mail/segment")
        age_all(spool)
        assert await orphans.sweep(store, spool, NOW) == 4
        assert not any(path.exists() for path in lost)
        kept = [*foreign, spool.path(received), *(spool.path(document.path) for document in fax.documents)]
        assert all(path.is_file() for path in kept)
        assert await orphans.sweep(store, spool, NOW) == 0
        output = "".join(capsys.readouterr())
        assert "env_b" in output
        assert "orphans=4" in output or '"orphans": 4' in output

    with_store(tmp_path, scenario)


def test_files_of_a_lost_database_are_kept_and_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They may be all that is left of mails accepted with 250."""
    spool = LocalSpool(tmp_path / "spool")
    made: list[datetime] = []

    async def scenario(store: SqlStore) -> None:
        assert store.created_at is not None
        made.append(store.created_at)
        second, later = timedelta(seconds=1), store.created_at + timedelta(days=1)
        [old] = left(spool, "mail/00/env_old.eml", at=store.created_at - second)
        [crashed] = left(spool, "mail/00/env_crashed.eml", at=store.created_at + second)
        assert await orphans.sweep(store, spool, later, store.created_at) == 1
        assert (old.exists(), crashed.exists()) == (True, False)
        output = "".join(capsys.readouterr())
        assert "files of a former database kept in the spool" in output

    with_store(tmp_path, scenario)
    with_store(tmp_path, scenario)
    assert made[0] == made[1], "a start makes no database younger"


def test_a_file_newer_than_the_start_is_kept(tmp_path: Path) -> None:
    spool = LocalSpool(tmp_path / "spool")

    async def scenario(store: SqlStore) -> None:
        [young] = left(spool, "mail/00/env_young.eml", at=NOW)
        [old] = left(spool, "mail/00/env_old.eml", at=NOW - timedelta(seconds=1))
        assert await orphans.sweep(store, spool, NOW) == 1
        assert (young.exists(), old.exists()) == (True, False)

    with_store(tmp_path, scenario)


def test_files_of_pending_deletions_are_not_orphans(tmp_path: Path) -> None:
    """Retention alone deletes and counts them."""
    spool = LocalSpool(tmp_path / "spool")

    async def scenario(store: SqlStore) -> None:
        await a_mail(store, spool, "delivered")
        path = spool.store_received("fax_in", b"%PDF")
        await store.run(lambda tx: tx.events.emit("fax.received", {"document": {"path": path}}, NOW, "fax_in"))
        await settle_all(store)
        age_all(spool)
        later = NOW + timedelta(days=7)
        await store.run(
            lambda tx: (tx.retention.discard_documents(later, later, 9), tx.retention.discard_received(later, later, 9))
        )
        assert await orphans.sweep(store, spool, later) == 0
        assert (await Retention(604800, 63072000, store, spool, lambda: later).sweep(later)).documents == 2

    with_store(tmp_path, scenario)


def test_many_files_are_looked_up_in_one_transaction(tmp_path: Path) -> None:
    spool = LocalSpool(tmp_path / "spool")

    async def scenario(store: SqlStore) -> None:
        left(spool, *(f"mail/{n % 64:02x}/env_{n}.eml" for n in range(2000)))
        left(spool, *(f"received/05/fax_{n}" for n in range(1201)))
        real, asked = store.run, [0]

        async def run(work: object) -> object:
            asked[0] += 1
            return await real(work)  # type: ignore[arg-type]

        store.run = run  # type: ignore[method-assign, assignment]
        assert await orphans.sweep(store, spool, NOW) == 3201
        assert asked[0] <= 66

    with_store(tmp_path, scenario)


def test_known_files_are_mails_and_received_documents(tmp_path: Path) -> None:
    spool = LocalSpool(tmp_path / "spool")

    async def scenario(store: SqlStore) -> None:
        [fax] = await a_mail(store, spool, "queued")
        path = fax.documents[0].path

        def work(tx: Transaction) -> set[str]:
            return tx.retention.known_files([path, "mail/00/env_x.eml", ""])

        assert await store.run(work) == {path}

    with_store(tmp_path, scenario)
