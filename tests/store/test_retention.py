"""Retention deletes on time, only what is final, with an audit line, and finishes after a crash at any point."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, LiteralString, get_args

import psycopg
import pytest

from mailbridge.errors import NotFound, StoreUnavailable
from mailbridge.lifecycle import FAX_FINAL, FaxState
from mailbridge.model import ReceivedItem
from mailbridge.store import local_spool, retention
from mailbridge.store.interface import Transaction
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.retention import Deleted, Retention
from mailbridge.store.retention_interface import AuditLine
from mailbridge.store.sql_store import SqlStore
from tests.factories import NOW, NUMBER
from tests.store.factories import a_mail, ask, copy_state, go, settle_all, stored, with_store
from tests.wait_helpers import PATIENCE

pytestmark = pytest.mark.usefixtures("database")
DAY = 86400.0
WEEK, LONG = timedelta(days=7), timedelta(days=730)
MOMENT = timedelta(microseconds=1)
STATES = get_args(FaxState)


def keeper(store: SqlStore, spool: LocalSpool, documents: float = 7 * DAY, records: float = 730 * DAY) -> Retention:
    return Retention(documents, records, store, spool, lambda: NOW)


def files(spool: LocalSpool) -> set[str]:
    return {str(path.relative_to(spool.root)) for path in spool.root.rglob("*") if path.is_file()}


async def audited(store: SqlStore, what: str) -> list[AuditLine]:
    return [line for line in await store.run(lambda tx: tx.audit.newest(limit=10_000)) if line.what == what]


async def a_received(store: SqlStore, spool: LocalSpool, id_: str = "fax_in", at: datetime = NOW) -> str:
    path = spool.store_received(id_, b"%PDF")
    document = {"path": path, "sha256": "cd", "size": 4, "content_type": "application/pdf", "filename": "in.pdf", "pages": None}
    data = {"fax_id": id_, "from": NUMBER, "to": "+97231111111", "document": document}
    await store.run(lambda tx: tx.events.emit("fax.received", data, at, id_))
    return path


def test_documents_are_deleted_on_time_and_still_listed(tmp_path: Path) -> None:
    spool = LocalSpool(tmp_path / "spool")

    async def scenario(store: SqlStore) -> None:
        [fax] = await a_mail(store, spool, "delivered")
        assert len(files(spool)) == 2
        keep = keeper(store, spool)
        assert await keep.sweep(NOW + WEEK - MOMENT) == Deleted(0, 0, 0, 0)
        assert len(files(spool)) == 2
        assert await keep.sweep(NOW + WEEK) == Deleted(1, 0, 0, 0)
        assert files(spool) == set()
        after = await stored(store, fax.id)
        assert after == replace(fax, documents=tuple(replace(document, path="") for document in fax.documents))
        with pytest.raises(NotFound):
            spool.open_document(after.documents[0])
        assert await keep.sweep(NOW + WEEK) == Deleted(0, 0, 0, 0)

    with_store(tmp_path, scenario)


@pytest.mark.parametrize("state", STATES)
def test_only_final_faxes_are_deleted(tmp_path: Path, state: FaxState) -> None:
    """A fax that is not final keeps its mail, and the final faxes of the same mail."""
    spool = LocalSpool(tmp_path / "spool")

    async def scenario(store: SqlStore) -> None:
        faxes = await a_mail(store, spool, "delivered", state)
        await settle_all(store)
        swept = await keeper(store, spool).sweep(NOW + 9 * LONG)
        if state in FAX_FINAL:
            assert (swept, files(spool)) == (Deleted(2, 2, 0, 0), set())
        else:
            assert (swept, len(files(spool))) == (Deleted(0, 0, 0, 0), 2)
            assert [await stored(store, fax.id) for fax in faxes] == faxes

    with_store(tmp_path, scenario)


def test_a_file_is_kept_until_its_last_fax_has_expired(tmp_path: Path) -> None:
    spool = LocalSpool(tmp_path / "spool")

    async def scenario(store: SqlStore) -> None:
        _, late = await a_mail(store, spool, "delivered", "queued")
        await go(store, late.id, "failed", NOW + timedelta(days=3))
        keep = keeper(store, spool)
        assert await keep.sweep(NOW + WEEK + timedelta(days=3) - MOMENT) == Deleted(0, 0, 0, 0)
        assert await keep.sweep(NOW + WEEK + timedelta(days=3)) == Deleted(2, 0, 0, 0)

    with_store(tmp_path, scenario)


def test_a_file_is_kept_for_a_fax_of_another_envelope_that_shares_it(tmp_path: Path) -> None:
    spool = LocalSpool(tmp_path / "spool")

    async def scenario(store: SqlStore) -> None:
        [old] = await a_mail(store, spool, "delivered")
        [again] = await a_mail(store, spool, "queued")
        path = old.documents[0].path
        ask(tmp_path, "UPDATE envelope SET path = ? WHERE id = ?", path, again.envelope_id)
        assert await keeper(store, spool).sweep(NOW + WEEK) == Deleted(0, 0, 0, 0)
        assert path in files(spool)

    with_store(tmp_path, scenario)


def test_records_are_deleted_on_time_with_their_events_and_deliveries(tmp_path: Path) -> None:
    spool = LocalSpool(tmp_path / "spool")

    async def scenario(store: SqlStore) -> None:
        faxes = await a_mail(store, spool, "delivered", "failed", "cancelled")
        [waiting] = await a_mail(store, spool, "queued")
        await settle_all(store)
        keep = keeper(store, spool)
        assert (await keep.sweep(NOW + LONG - MOMENT)).faxes == 0
        assert await keep.sweep(NOW + LONG) == Deleted(0, 3, 0, 0)
        assert [fax.id for fax in await store.run(lambda tx: tx.faxes.newest())] == [waiting.id]
        assert ask(tmp_path, "SELECT id FROM envelope") == [(waiting.envelope_id,)]
        assert ask(tmp_path, "SELECT DISTINCT fax_id FROM event") == [(waiting.id,)]
        assert ask(tmp_path, "SELECT count(*) FROM delivery") == [(2,)]
        assert await store.run(lambda tx: tx.faxes.counts()) == {"queued": 1}
        assert await store.run(lambda tx: tx.deliveries.counts()) == {("crm", "delivered"): 1, ("erp", "delivered"): 1}
        assert {fax.id for fax in faxes} == {line.subject for line in await audited(store, "fax.deleted")}

    with_store(tmp_path, scenario)


@pytest.mark.parametrize("sending", [False, True])
def test_an_event_is_kept_until_it_is_delivered(tmp_path: Path, sending: bool) -> None:
    spool = LocalSpool(tmp_path / "spool")

    async def scenario(store: SqlStore) -> None:
        [fax] = await a_mail(store, spool, "delivered")
        path = await a_received(store, spool)
        await store.run(lambda tx: tx.events.emit("mailbox.down", {}, NOW))
        if sending:
            for endpoint in ("crm", "erp"):
                await store.run(lambda tx, to=endpoint: tx.deliveries.claim(to, NOW, 99))  # type: ignore[misc]
        keep = keeper(store, spool)
        assert await keep.sweep(NOW + LONG) == Deleted(1, 0, 0, 0)
        assert files(spool) == {path}
        await stored(store, fax.id)
        if sending:
            await store.run(lambda tx: tx.deliveries.requeue_interrupted(["crm", "erp"]))
        await settle_all(store)
        # The received document first, then its event.
        assert await keep.sweep(NOW + LONG) == Deleted(1, 1, 2, 0)
        assert await store.run(lambda tx: tx.events.newest()) == []

    with_store(tmp_path, scenario)


def test_a_received_document_is_deleted_and_still_listed(tmp_path: Path) -> None:
    spool = LocalSpool(tmp_path / "spool")

    async def scenario(store: SqlStore) -> None:
        await a_received(store, spool)
        await settle_all(store)
        keep = keeper(store, spool)
        assert await keep.sweep(NOW + WEEK - MOMENT) == Deleted(0, 0, 0, 0)
        assert await keep.sweep(NOW + WEEK) == Deleted(1, 0, 0, 0)
        assert files(spool) == set()
        [event] = await store.run(lambda tx: tx.events.newest("fax_in"))
        assert (event.data["document"]["path"], event.data["document"]["sha256"]) == ("", "cd")
        [line] = await audited(store, "document.deleted")
        assert (line.subject, line.number) == ("fax_in", NUMBER)
        assert line.record["documents"] == [{"sha256": "cd", "size": 4, "pages": None}]

    with_store(tmp_path, scenario)


def test_digests_of_processed_mails_are_deleted_with_the_records(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        old, new = NOW, NOW + timedelta(days=1)
        await store.run(lambda tx: [tx.mailboxes.mark_processed("office", f"{n}", old) for n in range(250)])
        await store.run(lambda tx: tx.mailboxes.mark_processed("office", "new", new))
        assert (await keeper(store, LocalSpool(tmp_path / "spool")).sweep(NOW + LONG)).processed_mails == 250
        assert not await store.run(lambda tx: tx.mailboxes.mark_processed("office", "new", new))

    with_store(tmp_path, scenario)


def test_received_items_are_deleted_with_the_records_but_kept_while_they_may_be_listed(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        old = ReceivedItem(id="fax_0", account="office", kind="incoming", caller=NUMBER, called=None, at=NOW, noted_at=NOW)
        more = [replace(old, id=f"fax_{number}", listing_id=f"{number}") for number in range(1, 250)]
        new = replace(old, id="fax_new", noted_at=NOW + timedelta(days=1))
        for one in (old, *more, new):
            await store.run(lambda tx, one=one: tx.received.put(one))  # type: ignore[misc]
        short = keeper(store, LocalSpool(tmp_path / "spool"), records=DAY)
        assert (await short.sweep(NOW + timedelta(days=31))).received_items == 0
        assert (await short.sweep(NOW + timedelta(days=32))).received_items == 250
        assert await store.run(lambda tx: tx.received.between("office", "incoming", NOW, NOW)) == [new]

    with_store(tmp_path, scenario)


def test_the_audit_proves_what_was_deleted(tmp_path: Path) -> None:
    spool = LocalSpool(tmp_path / "spool")

    async def scenario(store: SqlStore) -> None:
        [fax] = await a_mail(store, spool, "delivered")
        await settle_all(store)
        keep = keeper(store, spool)
        await keep.sweep(NOW + WEEK)
        await keep.sweep(NOW + LONG)
        gone, kept = await store.run(lambda tx: tx.audit.newest(number=NUMBER))
        assert [gone, kept] == await store.run(lambda tx: tx.audit.newest(fax.id))
        assert (kept.what, gone.what) == ("document.deleted", "fax.deleted")
        assert kept.record["documents"][0] == {"sha256": "ab", "size": 3, "pages": None}
        assert gone.at == NOW + LONG
        assert (gone.record["state"], gone.record["final_at"], gone.record["fax_code"]) == (
            "delivered",
            NOW.isoformat(),
            f"CODE-{fax.id}",
        )
        assert gone.record["documents_deleted_at"] == (NOW + WEEK).isoformat()
        assert "dana@" not in str([gone, kept])
        assert "a.pdf" not in str([gone, kept])

    with_store(tmp_path, scenario)
    statements: tuple[LiteralString, ...] = ("DELETE FROM audit", "UPDATE audit SET number = NULL")
    for statement in statements:
        with pytest.raises((sqlite3.IntegrityError, psycopg.Error), match="append-only"):
            ask(tmp_path, statement)


def test_the_next_sweep_finishes_after_a_crash_at_any_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends before the first transaction, the second, and so on; each time the next sweep deletes the rest."""
    origin = tmp_path / "origin"
    origin.mkdir()

    async def fill(store: SqlStore) -> None:
        spool = LocalSpool(origin / "spool")
        await a_mail(store, spool, "delivered", "failed")
        await a_mail(store, spool, "cancelled")
        await a_mail(store, spool, "submitted")
        await a_received(store, spool)
        await settle_all(store)

    with_store(origin, fill)
    broken_off = 0
    while True:
        here = tmp_path / f"crash{broken_off}"
        copy_state(origin, here)
        ended = crash_at(here, broken_off)
        check_taken_up(here)
        if ended:
            break
        broken_off += 1
    assert broken_off > 8


class Crash(Exception):
    """The power fails."""


def crash_at(state_dir: Path, transaction: int) -> bool:
    """Sweep, with a power failure before this transaction; return whether the sweep ended earlier."""
    ended = False

    async def scenario(store: SqlStore) -> None:
        nonlocal ended
        real, left = store.run, iter(range(transaction))

        async def run(work: Callable[[Transaction], Any]) -> Any:
            if next(left, None) is None:
                raise Crash
            return await real(work)

        store.run = run  # type: ignore[method-assign]
        try:
            await keeper(store, LocalSpool(state_dir / "spool")).sweep(NOW + LONG)
            ended = True
        except Crash:
            pass

    with_store(state_dir, scenario)
    return ended


def check_taken_up(state_dir: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        spool = LocalSpool(state_dir / "spool")
        await keeper(store, spool).sweep(NOW + LONG)
        [left] = await store.run(lambda tx: tx.faxes.newest())
        assert left.state == "submitted"
        assert files(spool) == {document.path for document in left.documents}
        assert len(await audited(store, "document.deleted")) == 4
        assert len(await audited(store, "fax.deleted")) == 3
        assert len(await audited(store, "event.deleted")) == 1
        assert await store.run(lambda tx: tx.retention.pending_deletions(9)) == []

    with_store(state_dir, scenario)


def test_a_file_that_cannot_be_deleted_is_retried_and_does_not_stop_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spool = LocalSpool(tmp_path / "spool")

    async def scenario(store: SqlStore) -> None:
        [stuck], [free] = await a_mail(store, spool, "delivered"), await a_mail(store, spool, "delivered")
        real = os.unlink

        def unlink(path: Path, **given: Any) -> None:
            if Path(path).name.startswith(str(stuck.envelope_id)):
                raise PermissionError(1, "Operation not permitted", str(path))
            real(path, **given)

        with monkeypatch.context() as patch:
            patch.setattr(os, "unlink", unlink)
            assert await keeper(store, spool).sweep(NOW + WEEK) == Deleted(1, 0, 0, 0)
        assert "cannot be deleted" in "".join(capsys.readouterr())
        assert [line.subject for line in await audited(store, "document.deleted")] == [free.id]
        assert await keeper(store, spool).sweep(NOW + WEEK) == Deleted(1, 0, 0, 0)
        assert files(spool) == set()

    with_store(tmp_path, scenario)


def test_a_deletion_is_audited_only_once_it_survives_a_power_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = LocalSpool(tmp_path / "spool")

    async def scenario(store: SqlStore) -> None:
        await a_mail(store, spool, "delivered")

        def broken(path: Path) -> None:
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(local_spool, "sync", broken)
            with pytest.raises(StoreUnavailable, match="synced"):
                await keeper(store, spool).sweep(NOW + WEEK)
        assert await audited(store, "document.deleted") == []
        assert await keeper(store, spool).sweep(NOW + WEEK) == Deleted(1, 0, 0, 0)

    with_store(tmp_path, scenario)


def test_deletion_in_batches_lets_mail_be_accepted_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = LocalSpool(tmp_path / "spool")
    monkeypatch.setattr(retention, "BATCH", 10)

    async def scenario(store: SqlStore) -> None:
        for _ in range(12):
            await a_mail(store, spool, "delivered", "failed")
        await settle_all(store)
        real, most = store.run, 0

        async def run(work: Callable[[Transaction], Any]) -> Any:
            nonlocal most
            before = ask(tmp_path, "SELECT count(*) FROM fax")[0][0]
            result = await real(work)
            most = max(most, before - ask(tmp_path, "SELECT count(*) FROM fax")[0][0])
            return result

        store.run = run  # type: ignore[method-assign]
        assert await keeper(store, spool).sweep(NOW + LONG) == Deleted(24, 24, 0, 0)
        assert most == 10

    with_store(tmp_path, scenario)


def test_records_are_kept_for_at_least_a_day(tmp_path: Path) -> None:
    """They identify a mail that is sent again, which must not be faxed again."""
    spool = LocalSpool(tmp_path / "spool")

    async def scenario(store: SqlStore) -> None:
        await a_mail(store, spool, "delivered")
        await settle_all(store)
        keep = keeper(store, spool, documents=0, records=0)
        assert await keep.sweep(NOW + timedelta(hours=23)) == Deleted(1, 0, 0, 0)
        assert await keep.sweep(NOW + timedelta(hours=24)) == Deleted(0, 1, 0, 0)

    with_store(tmp_path, scenario)


def test_documents_are_deleted_with_their_record_at_the_latest(tmp_path: Path) -> None:
    spool = LocalSpool(tmp_path / "spool")

    async def scenario(store: SqlStore) -> None:
        await a_mail(store, spool, "delivered")
        await settle_all(store)
        assert await keeper(store, spool, documents=99 * DAY, records=2 * DAY).sweep(NOW + timedelta(days=2)) == Deleted(
            1, 1, 0, 0
        )
        assert files(spool) == set()

    with_store(tmp_path, scenario)


def test_the_service_sweeps_at_once_and_continues_after_the_store_was_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spool = LocalSpool(tmp_path / "spool")

    async def scenario(store: SqlStore) -> None:
        await a_mail(store, spool, "delivered")
        keep = Retention(0, 730 * DAY, store, spool, lambda: NOW + LONG)
        real, tries = keep.sweep, 0
        swept = asyncio.Event()

        async def sweep(now: datetime) -> Deleted:
            nonlocal tries
            tries += 1
            if tries == 1:
                raise StoreUnavailable("the disk is full")
            result = await real(now)
            swept.set()
            return result

        monkeypatch.setattr(keep, "sweep", sweep)
        running = asyncio.create_task(keep.run())
        await asyncio.wait_for(swept.wait(), PATIENCE)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert files(spool) == set()
        assert "the disk is full" in "".join(capsys.readouterr())

    with_store(tmp_path, scenario)


def test_a_fax_dialled_again_keeps_its_documents(tmp_path: Path) -> None:
    """A new fax and the pending deletion of its file meet in the store: whichever is first, the fax keeps its file."""
    spool = LocalSpool(tmp_path / "spool")

    async def scenario(store: SqlStore) -> None:
        [failed] = await a_mail(store, spool, "failed")
        again = replace(failed, id="fax_again", token="MB-AGAIN", state="queued", final_at=None)
        await store.run(lambda tx: tx.faxes.add(again, NOW))
        assert await keeper(store, spool).sweep(NOW + WEEK) == Deleted(0, 0, 0, 0)
        assert again.documents[0].path in files(spool)

    with_store(tmp_path, scenario)


def test_a_page_that_no_fax_tells_of_goes_with_its_mail(tmp_path: Path) -> None:
    spool = LocalSpool(tmp_path / "spool")

    async def scenario(store: SqlStore) -> None:
        [fax] = await a_mail(store, spool, "delivered")
        await store.run(lambda tx: tx.faxes.update(fax.id, documents=fax.documents[:1]))
        await keeper(store, spool).sweep(NOW + WEEK)
        assert files(spool) == set()

    with_store(tmp_path, scenario)


def test_a_batch_ends_soon_after_its_limit_if_mails_have_many_faxes(tmp_path: Path) -> None:
    """The first fax of each mail is final early, the others later: selected by time alone, a batch would start on every mail."""
    spool = LocalSpool(tmp_path / "spool")

    async def scenario(store: SqlStore) -> None:
        mails = [await a_mail(store, spool, "queued", "queued", "queued", "queued", "queued") for _ in range(4)]
        for late in range(5):
            for faxes in mails:
                await go(store, faxes[late].id, "cancelled", NOW + timedelta(hours=late))
        later = NOW + WEEK + timedelta(days=1)
        retired = [await store.run(lambda tx: tx.retention.discard_documents(later, later, 6)) for _ in range(3)]
        assert retired == [10, 10, 0]

    with_store(tmp_path, scenario)


def test_former_tokens_are_deleted_with_their_fax(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        spool = LocalSpool(tmp_path / "spool")
        [fax] = await a_mail(store, spool, "failed")
        await store.run(lambda tx: tx.faxes.update(fax.id, token="MB-00000009"))
        assert [one.id for one in await store.run(lambda tx: tx.faxes.by_tokens([fax.token]))] == [fax.id]
        await settle_all(store)
        await keeper(store, spool).sweep(NOW + LONG)
        assert ask(tmp_path, "SELECT count(*) FROM fax") == ask(tmp_path, "SELECT count(*) FROM former_token") == [(0,)]

    with_store(tmp_path, scenario)
