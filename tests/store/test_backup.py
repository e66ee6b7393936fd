"""Backup, verification and restore of a state_dir, without a daemon. tests/e2e/test_backup.py does it under load."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest

from mailbridge.errors import RestoreUnfinished, StoreUnavailable
from mailbridge.model import Attempt, Failure, Fax
from mailbridge.store import retention as retention_module
from mailbridge.store.backup import back_up
from mailbridge.store.interface import Transaction
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.restoration import finish, hold_unsent, restore_files
from mailbridge.store.retention import Retention
from mailbridge.store.sql_store import SqlStore
from mailbridge.store.sqlite import SqliteStore
from mailbridge.store.verification import verify
from tests.factories import NOW, a_fax, an_envelope
from tests.store.factories import stored, with_store
from tests.store.test_migrations import make_old
from tests.wait_helpers import until

CONTENT = b"%PDF-1.7 a document"
LATER = NOW + timedelta(days=1)


async def a_stored_fax(store: SqlStore, spool: LocalSpool, *triggers: tuple[str, dict[str, Any]]) -> Fax:
    """Store a mail that is one document, with one fax, and move the fax by triggers."""
    envelope = an_envelope(NOW)
    file = spool.create(envelope.id)
    file.write(CONTENT)
    await file.commit()
    envelope = replace(envelope, path=file.relpath)
    digest = hashlib.sha256(CONTENT).hexdigest()
    whole: dict[str, Any] = {"path": file.relpath, "offset": 0, "length": len(CONTENT), "size": len(CONTENT), "sha256": digest}
    document = replace(a_fax().documents[0], **whole, encoding="identity")
    fax = a_fax(documents=(document,))

    def work(tx: Transaction) -> None:
        tx.submissions.add(envelope, [fax], None, NOW)
        for trigger, changes in triggers:
            tx.faxes.transition(fax.id, trigger, NOW, **changes)  # type: ignore[arg-type]  # a literal, as plain text

    await store.run(work)
    return await stored(store, fax.id)


CLAIM = ("claim", {"attempts": (Attempt(n=1, started_at=NOW),)})
ACCEPT = ("accept", {"fax_code": "CODE"})
FAIL = ("fail", {"failure": Failure(code="busy", message="busy")})
STATES = {
    "queued": (),
    "uploading": (CLAIM,),
    "submitted": (CLAIM, ACCEPT),
    "in_doubt": (CLAIM, ("lose", {})),
    "delivered": (CLAIM, ACCEPT, ("confirm", {})),
    "failed": (CLAIM, ACCEPT, FAIL),
}


def a_state(state_dir: Path) -> dict[str, str]:
    """Fill a state_dir with a fax in each state; return its id for each."""
    faxes: dict[str, str] = {}

    async def scenario(store: SqlStore) -> None:
        spool = LocalSpool(state_dir / "spool")
        for state, triggers in STATES.items():
            faxes[state] = (await a_stored_fax(store, spool, *triggers)).id
        path = spool.store_received("fax_R", b"a received document")
        data = {"direction": "inbound", "document": {"path": path}}
        await store.run(lambda tx: tx.events.emit("fax.received", data, NOW, "fax_R"))
        (state_dir / "link.key").write_bytes(b"k" * 32)

    with_store(state_dir, scenario)
    return faxes


def restored(backup: Path, state_dir: Path) -> list[str]:
    held: list[str] = []

    async def main() -> None:
        restore_files(backup, state_dir)
        async with SqliteStore(state_dir, lambda fax: {}, lambda type_: ["crm"], restoring=True) as store:
            held.extend(await hold_unsent(store, LATER))
        finish(state_dir)

    asyncio.run(main())
    return held


def test_what_was_queued_or_uploading_is_in_doubt_after_a_restore_and_all_else_is_as_it_was(tmp_path: Path) -> None:
    faxes = a_state(tmp_path / "old")
    done = back_up(tmp_path / "old", tmp_path / "backup", "1")
    assert (done.faxes, done.missing) == (6, ())
    assert verify(tmp_path / "backup") == (6, 6, ())
    held = restored(tmp_path / "backup", tmp_path / "new")
    assert held == sorted([faxes["queued"], faxes["uploading"]])
    assert (tmp_path / "new/link.key").read_bytes() == b"k" * 32

    async def scenario(store: SqlStore) -> None:
        for state, id_ in faxes.items():
            fax = await stored(store, id_)
            assert fax.state == ("in_doubt" if id_ in held else state)
            assert fax.restored_at == (LATER if id_ in held else None)
            with LocalSpool(tmp_path / "new/spool").open_document(fax.documents[0]) as document:
                assert document.read() == CONTENT
            types = [event.type for event in await store.run(lambda tx, id_=id_: tx.events.newest(id_))]  # type: ignore[misc]  # a default has no type
            assert types.count("fax.in_doubt") == (1 if fax.state == "in_doubt" else 0)
        assert await store.run(lambda tx: tx.faxes.next_due("queued")) is None

    with_store(tmp_path / "new", scenario)
    assert verify(tmp_path / "new").problems == ()


def change(path: Path) -> None:
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"!")


def mail_of(backup: Path) -> Path:
    return next((backup / "spool/mail").rglob("*.eml"))


def sql(statement: str) -> Callable[[Path], None]:
    def run(backup: Path) -> None:
        with sqlite3.connect(backup / "mailbridge.sqlite3") as database:
            database.execute(statement)
        database.close()

    return run


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "no manifest": (lambda backup: (backup / "backup.json").unlink(), "not complete"),
    "manifest cut off": (lambda backup: (backup / "backup.json").write_text("{"), "cannot be read"),  # type: ignore[dict-item]  # its result is ignored
    "mail missing": (lambda backup: mail_of(backup).unlink(), "is missing"),
    "mail changed": (lambda backup: change(mail_of(backup)), "was changed after the backup"),
    "document damaged": (lambda backup: change(mail_of(backup)), "the document 'a.pdf' is damaged"),
    "received document missing": (lambda backup: next((backup / "spool/received").rglob("fax_R")).unlink(), "is missing"),
    "key missing": (lambda backup: (backup / "link.key").unlink(), "link.key is missing"),
    "unknown state": (sql("UPDATE fax SET state = 'lost' WHERE state = 'queued'"), "has an unknown state"),
    "submitted without code": (sql("UPDATE fax SET fax_code = NULL WHERE state = 'submitted'"), "submitted without a FAX_CODE"),
    "final without a time": (sql("UPDATE fax SET final_at = NULL WHERE state = 'failed'"), "is final without a time"),
    "open with a final time": (sql("UPDATE fax SET final_at = 1 WHERE state = 'queued'"), "its state is not final"),
    "failed without a reason": (sql("UPDATE fax SET failure = NULL WHERE state = 'failed'"), "failed without a reason"),
    "no documents": (sql("UPDATE fax SET documents = '[]' WHERE state = 'queued'"), "has no document"),
    "mail not stored": (sql("DELETE FROM envelope"), "belongs to no stored mail"),
    "delivery without event": (sql("DELETE FROM event"), "delivers no stored event"),
    "delivery in an unknown state": (sql("UPDATE delivery SET state = 'x'"), "has an unknown delivery state"),
    "delivery settled without a time": (sql("UPDATE delivery SET state = 'dead'"), "is settled without a time"),
    "counter wrong": (sql("UPDATE counter SET n = 7 WHERE kind = 'fax' AND state = 'queued'"), "is counted wrongly"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_verify_finds(tmp_path: Path, case: str) -> None:
    a_state(tmp_path / "old")
    back_up(tmp_path / "old", tmp_path / "backup", "1")
    damage, expected = DAMAGE[case]
    damage(tmp_path / "backup")
    problems = verify(tmp_path / "backup").problems
    assert any(expected in problem for problem in problems), problems


def test_verify_names_a_directory_that_is_no_backup(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="name the directory of a backup"):
        verify(tmp_path)
    (tmp_path / "mailbridge.sqlite3").write_bytes(b"not a database, but longer than a header")
    with pytest.raises(StoreUnavailable, match="use another backup"):
        verify(tmp_path)


def test_a_backup_of_an_older_version_is_verified_as_if_migrated(tmp_path: Path) -> None:
    old = make_old(tmp_path / "old", 2)
    back_up(old, tmp_path / "backup", "0")
    before = (tmp_path / "backup/mailbridge.sqlite3").read_bytes()
    assert all("unknown state" not in problem for problem in verify(tmp_path / "backup").problems)
    assert (tmp_path / "backup/mailbridge.sqlite3").read_bytes() == before


def test_a_backup_needs_an_empty_directory_and_leaves_nothing_if_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_state(tmp_path / "old")
    (tmp_path / "used").mkdir()
    (tmp_path / "used/file").touch()
    with pytest.raises(StoreUnavailable, match="is not empty"):
        back_up(tmp_path / "old", tmp_path / "used", "1")
    assert [path.name for path in (tmp_path / "used").iterdir()] == ["file"]

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mailbridge.store.backup.copy_file", full)
    with pytest.raises(StoreUnavailable, match=r"No space left on device.*nothing was left"):
        back_up(tmp_path / "old", tmp_path / "new", "1")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_missing_file_is_named_and_the_rest_is_backed_up(tmp_path: Path) -> None:
    a_state(tmp_path / "old")
    lost = mail_of(tmp_path / "old")
    lost.unlink()
    done = back_up(tmp_path / "old", tmp_path / "backup", "1")
    assert done.missing == (str(lost.relative_to(tmp_path / "old/spool")),)
    assert len(json.loads((tmp_path / "backup/backup.json").read_text())["files"]) == done.files


def test_a_restore_needs_an_empty_state_dir(tmp_path: Path) -> None:
    a_state(tmp_path / "old")
    back_up(tmp_path / "old", tmp_path / "backup", "1")
    with pytest.raises(StoreUnavailable, match="is not empty"):
        restore_files(tmp_path / "backup", tmp_path / "old")


def test_no_daemon_starts_on_an_interrupted_restore_and_it_can_be_repeated(tmp_path: Path) -> None:
    faxes = a_state(tmp_path / "old")
    back_up(tmp_path / "old", tmp_path / "backup", "1")
    restore_files(tmp_path / "backup", tmp_path / "new")  # and then the power failed
    with pytest.raises(RestoreUnfinished, match="run mailbridge restore again"):
        with_store(tmp_path / "new", lambda store: stored(store, faxes["queued"]))  # type: ignore[arg-type,return-value]  # it is not run
    assert len(restored(tmp_path / "backup", tmp_path / "new")) == 2


class CountedLock(asyncio.Lock):
    """A lock that counts who has asked for it: a sweep does before each look at whether files are held."""

    count = 0

    async def acquire(self) -> Literal[True]:
        self.count += 1
        return await super().acquire()


def test_retention_deletes_no_file_while_a_backup_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention_module, "_HOLD_CHECK", 0.0)

    async def scenario(store: SqlStore) -> None:
        spool = LocalSpool(tmp_path / "spool")
        fax = await a_stored_fax(store, spool, *STATES["delivered"])
        path = spool.path(fax.documents[0].path)
        retention = Retention(1.0, 1.0, store, spool, lambda: LATER)
        await retention.hold(3600.0)
        retention._working = checks = CountedLock()
        sweep = asyncio.create_task(retention.sweep(LATER))
        await until(lambda: checks.count >= 3)
        assert await store.run(lambda tx: tx.retention.pending_deletions(1))
        assert path.exists()
        assert not sweep.done()
        await retention.hold(0.0)
        await sweep
        assert not path.exists()

    with_store(tmp_path, scenario)
