"""Segments: small mails share a file, and neither a crash, nor a failing disk, nor a deletion harms one for another's sake."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from mailbridge.errors import NotFound, StoreUnavailable
from mailbridge.fax.verified_document import Damaged, VerifiedDocument
from mailbridge.model import Document, Fax, new_id
from mailbridge.store import orphans, segments, stored_files
from mailbridge.store.arriving_mail import ArrivingMail
from mailbridge.store.backup import back_up
from mailbridge.store.buffered_mail import MEMORY
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.restoration import restore_files
from mailbridge.store.retention import Deleted, Retention
from mailbridge.store.spool_paths import Stretch, file_of, files_beside, stretch_of
from mailbridge.store.sql_store import SqlStore
from mailbridge.store.stored_files import StretchFile, open_descriptor
from mailbridge.store.verification import verify
from tests.factories import NOW, a_fax, an_envelope
from tests.store.factories import go, stored, with_store
from tests.wait_helpers import PATIENCE, until

WEEK = timedelta(days=7)
BLOCK = 4096


@pytest.fixture
def spool(tmp_path: Path) -> LocalSpool:
    return LocalSpool(tmp_path / "spool")


def arrived(spool: LocalSpool, content: bytes) -> ArrivingMail:
    mail = spool.receive(new_id("env"))
    mail.write(content)
    return mail


async def appended(spool: LocalSpool, *contents: bytes) -> list[ArrivingMail]:
    """Store mails one after the other, and keep them."""
    mails = [arrived(spool, content) for content in contents]
    for mail in mails:
        await mail.store(b"")
        mail.keep()
    return mails


def place(mail: ArrivingMail) -> Stretch:
    stretch = stretch_of(mail.relpath)
    assert stretch is not None
    return stretch


def content(spool: LocalSpool, mail: ArrivingMail) -> bytes:
    with spool.open(mail.relpath) as file:
        return file.read() or b""


def files(spool: LocalSpool) -> list[Path]:
    return [path for path in spool.root.rglob("*") if path.is_file()]


async def a_fax_of(store: SqlStore, spool: LocalSpool, text: bytes, keep: bool = True) -> Fax:
    """Store a mail whose only document is itself, with a queued fax."""
    mail = arrived(spool, text)
    with mail.source(most=0) as source:
        found = replace(a_fax().documents[0], path=str(source), offset=0, length=len(text), size=len(text), encoding="identity")
    await mail.store(b"")
    document = mail.stored(replace(found, sha256=hashlib.sha256(text).hexdigest()))
    fax = a_fax(documents=(document,))
    envelope = replace(an_envelope(NOW), path=mail.relpath, size=mail.size)
    await store.run(lambda tx: tx.submissions.add(envelope, [fax], None, NOW))
    if keep:
        mail.keep()
    return await stored(store, fax.id)


def path_of(spool: LocalSpool, fax: Fax) -> Path:
    return spool.root / file_of(fax.documents[0].path)


def keeper(store: SqlStore, spool: LocalSpool) -> Retention:
    return Retention(WEEK.total_seconds(), WEEK.total_seconds() * 100, store, spool, lambda: NOW)


# the path


def test_the_path_of_a_stretch_is_its_segments_with_the_place_behind_it() -> None:
    stretch = Stretch("mail/3f/seg_1.segment", 8192, 20480)
    assert stretch.path == "mail/3f/seg_1.segment/8192-20480"
    assert stretch_of(stretch.path) == stretch
    assert file_of(stretch.path) == "mail/3f/seg_1.segment"
    assert files_beside(stretch.path) == []
    for path in ("mail/3f/env_1.eml", "mail/3f/seg_1.segment", "mail/3f/seg_1.segment/x-1", "received/3f/fax_1", "", "1-2"):
        assert stretch_of(path) is None
        assert file_of(path) == path


def test_a_stretch_is_read_like_a_file_and_nothing_around_it(tmp_path: Path) -> None:
    (tmp_path / "a.segment").write_bytes(b"before" + b"0123456789" + b"behind")
    with StretchFile(tmp_path / "a.segment", Stretch("a.segment", 6, 10)) as file:
        assert file.read() == b"0123456789"
        assert file.read(5) == b""
        assert file.seek(-3, io.SEEK_END) == 7
        assert file.read(100) == b"789"
        with pytest.raises(ValueError, match="negative"):
            file.seek(-100)
        assert file.seek(0) == 0
        assert file.read(2) == b"01"
        assert file.seek(1, io.SEEK_CUR) == 3
        assert file.read(1) == b"3"
        assert file.seek(50) == 50
        assert file.read() == b""


# many mails, one sync


def test_mails_that_wait_share_one_write_and_one_sync(spool: LocalSpool, monkeypatch: pytest.MonkeyPatch) -> None:
    real, go_on, syncs = os.fsync, threading.Event(), list[str]()

    def held(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if path.endswith(".segment"):
            syncs.append(path)
            assert go_on.wait(PATIENCE)
        real(descriptor)

    async def scenario() -> None:
        monkeypatch.setattr(os, "fsync", held)
        first = [asyncio.ensure_future(mail.store(b"")) for mail in (arrived(spool, b"1"), arrived(spool, b"2"))]
        await until(lambda: len(syncs) == 2)
        mails = [arrived(spool, f"mail {number}".encode()) for number in range(40)]
        more = [asyncio.ensure_future(mail.store(b"page")) for mail in mails]
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(*first, *more)
        assert len(syncs) <= 4
        assert len(set(syncs)) == 2
        for number, mail in enumerate(mails):
            assert content(spool, mail) == f"mail {number}page".encode()
        assert spool.memory == MEMORY

    asyncio.run(scenario())


def test_mails_share_no_block_of_the_disk(spool: LocalSpool) -> None:
    async def scenario() -> None:
        texts = [b"x", bytes(BLOCK), b"y" * (BLOCK + 1), b"z" * (BLOCK - 1)]
        mails = await appended(spool, *texts)
        blocks = [range(place(mail).start // BLOCK, -(-(place(mail).start + place(mail).length) // BLOCK)) for mail in mails]
        assert all(place(mail).start % BLOCK == 0 for mail in mails)
        assert [block for blocks_ in blocks for block in blocks_] == list(range(5))
        assert [content(spool, mail) for mail in mails] == texts

    asyncio.run(scenario())


def test_a_segment_that_is_full_is_followed_by_another(spool: LocalSpool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "SIZE", 3 * BLOCK)

    async def scenario() -> None:
        mails = await appended(spool, *[b"x"] * 7)
        assert [place(mail).start // BLOCK for mail in mails] == [0, 1, 2, 0, 1, 2, 0]
        assert len({place(mail).segment for mail in mails}) == 3
        names = {path.name for path in files(spool)}
        opened = list[str]()
        for name in os.listdir("/proc/self/fd"):
            with suppress(FileNotFoundError):  # that of the list itself
                opened.append(Path(os.readlink(f"/proc/self/fd/{name}")).name)
        assert len(names.intersection(opened)) == 1

    asyncio.run(scenario())


def test_a_segments_name_is_synced_before_its_first_mail_is_durable(spool: LocalSpool, monkeypatch: pytest.MonkeyPatch) -> None:
    real, synced = os.fsync, list[str]()

    def fsync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    first, _ = asyncio.run(appended(spool, b"1", b"2"))
    segment = spool.root / place(first).segment
    assert synced == [str(segment), str(segment.parent), str(segment)]
    assert segment.stat().st_mode & 0o777 == 0o600


# a failing disk


def failing(call: str, number: int, after: Callable[..., int] | None = None) -> Callable[..., int]:
    def fail(*args: object) -> int:
        if after is not None:
            after(*args)
        raise OSError(number, os.strerror(number), "/secret/path")

    return fail


def half(descriptor: int, pieces: Sequence[bytes], offset: int) -> int:
    """Write what a disk that fills up takes."""
    whole = b"".join(pieces)
    return os.pwrite(descriptor, whole[: len(whole) // 2], offset)


@pytest.mark.parametrize(("call", "number"), [("pwritev", errno.ENOSPC), ("pwritev", errno.EIO), ("fsync", errno.EIO)])
def test_a_segment_with_an_error_is_cut_and_never_written_or_synced_again(
    spool: LocalSpool, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    async def scenario() -> None:
        [before] = await appended(spool, b"before")
        segment = spool.root / place(before).segment
        failed = [arrived(spool, bytes(10_000)), arrived(spool, b"another")]
        with monkeypatch.context() as patch:
            patch.setattr(os, call, failing(call, number, half if call == "pwritev" else None))
            outcomes = await asyncio.gather(*(mail.store(b"") for mail in failed), return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
        assert not any("/" in str(outcome).replace("Input/output", "") for outcome in outcomes)
        assert not spool.healthy
        for mail in failed:
            mail.abort()
        assert segment.read_bytes() == b"before".ljust(BLOCK, b"\0")
        touched = segment.stat()
        [after] = await appended(spool, b"after")
        assert place(after).segment != place(before).segment
        assert (segment.stat().st_mtime_ns, segment.stat().st_size) == (touched.st_mtime_ns, touched.st_size)
        assert (content(spool, before), content(spool, after)) == (b"before", b"after")
        assert spool.healthy
        assert spool.memory == MEMORY
        assert len(files(spool)) == 2

    asyncio.run(scenario())


def test_a_write_that_is_cut_short_goes_on(spool: LocalSpool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwritev", half)
            mails = await appended(spool, b"one" * 3000, b"two" * 5000)
        assert [content(spool, mail) for mail in mails] == [b"one" * 3000, b"two" * 5000]

    asyncio.run(scenario())


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "Too many open files"), OSError(errno.EROFS, "Read-only file system")])
def test_a_segment_that_cannot_be_created_fails_its_mails(
    spool: LocalSpool, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    async def scenario() -> None:
        mail, real = arrived(spool, b"x"), os.open

        def refused(path: object, *args: int) -> int:
            if str(path).endswith(".segment"):
                raise error
            return real(str(path), *args)

        with monkeypatch.context() as patch:
            patch.setattr(os, "open", refused)
            with pytest.raises(StoreUnavailable, match="cannot be written"):
                await mail.store(b"")
        mail.abort()
        assert not spool.healthy
        await appended(spool, b"y")
        assert spool.healthy

    asyncio.run(scenario())


def test_a_new_segment_whose_name_cannot_be_synced_is_deleted(spool: LocalSpool, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EIO, "Input/output error")
        real(descriptor)

    async def scenario() -> None:
        mail = arrived(spool, b"x")
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            with pytest.raises(StoreUnavailable):
                await mail.store(b"")
        mail.abort()
        assert files(spool) == []

    asyncio.run(scenario())


def test_without_a_thread_a_mail_fails(spool: LocalSpool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        mail = arrived(spool, b"x")

        def no_thread(*_: object) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(asyncio.get_running_loop(), "run_in_executor", no_thread)
            with pytest.raises(StoreUnavailable):
                await mail.store(b"")
        mail.abort()
        assert spool.memory == MEMORY
        assert files(spool) == []
        await appended(spool, b"y")

    asyncio.run(scenario())


# a mail that is not accepted


def test_a_mail_that_no_record_names_is_erased_and_goes_with_its_segment(spool: LocalSpool) -> None:
    async def scenario() -> None:
        kept, gone = arrived(spool, b"kept" * 1000), arrived(spool, b"gone" * 1000)
        await kept.store(b"")
        await gone.store(b"")
        gone.abort()
        gone.abort()
        assert content(spool, gone) == bytes(4000)
        assert content(spool, kept) == b"kept" * 1000
        kept.abort()
        assert files(spool) == []
        # The next one begins another segment.
        await appended(spool, b"next")
        assert len(files(spool)) == 1

    asyncio.run(scenario())


def test_a_mail_aborted_during_its_append_is_erased_behind_it(spool: LocalSpool, monkeypatch: pytest.MonkeyPatch) -> None:
    real, begun, go_on = os.fsync, threading.Event(), threading.Event()

    def held(descriptor: int) -> None:
        begun.set()
        assert go_on.wait(PATIENCE)
        real(descriptor)

    async def scenario() -> None:
        mail = arrived(spool, b"x")
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", held)
            storing = asyncio.ensure_future(mail.store(b""))
            await until(begun.is_set)
            mail.abort()
            assert spool.memory == MEMORY - 1
            go_on.set()
            await storing
        assert files(spool) == []
        assert spool.memory == MEMORY

    asyncio.run(scenario())


def test_a_mail_aborted_while_it_waits_is_never_written(spool: LocalSpool) -> None:
    async def scenario() -> None:
        mail, other = arrived(spool, b"secret"), arrived(spool, b"other")
        storing = [asyncio.ensure_future(one.store(b"")) for one in (mail, other)]
        mail.is_aborted = True
        await asyncio.wait(storing)
        assert isinstance(storing[0].exception(), StoreUnavailable)
        assert storing[1].exception() is None
        assert b"secret" not in b"".join(path.read_bytes() for path in files(spool))
        mail.abort()
        assert spool.memory == MEMORY

    asyncio.run(scenario())


def test_an_aborted_mail_takes_no_more_memory(spool: LocalSpool) -> None:
    mail = arrived(spool, bytes(1000))
    assert spool.memory == MEMORY - 1000
    mail.abort()
    mail.write(bytes(1000))
    assert spool.memory == MEMORY
    assert files(spool) == []


# a crash


@pytest.mark.usefixtures("database")
def test_a_start_after_a_crash_keeps_what_has_a_record_and_deletes_other_segments(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        spool = LocalSpool(tmp_path / "spool")
        fax = await a_fax_of(store, spool, b"accepted")
        segment = path_of(spool, fax)
        # The crash comes while the next mail is appended: its tail is torn. Another segment has only mails without a record.
        with segment.open("ab") as file:
            file.write(b"torn mail")
        lost = LocalSpool(tmp_path / "spool")
        await arrived(lost, b"durable, and the crash came before its record").store(b"")
        assert len(files(spool)) == 2
        after = LocalSpool(tmp_path / "spool")
        for path in files(after):
            os.utime(path, ((NOW - timedelta(hours=1)).timestamp(),) * 2)
        assert await orphans.sweep(store, after, NOW) == 1
        assert files(after) == [segment]
        with after.open_document(fax.documents[0]) as document:
            assert document.read() == b"accepted"
        # Nothing is written behind the torn tail.
        [new] = await appended(after, b"new")
        assert after.root / place(new).segment != segment
        assert await orphans.sweep(store, after, NOW) == 0
        assert segment.exists()

    with_store(tmp_path, scenario)


@pytest.mark.usefixtures("database")
def test_a_segment_older_than_the_database_is_kept(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        spool = LocalSpool(tmp_path / "spool")
        await appended(spool, b"of a lost database")
        os.utime(files(spool)[0], ((NOW - timedelta(days=2)).timestamp(),) * 2)
        assert await orphans.sweep(store, LocalSpool(spool.root), NOW, NOW - timedelta(days=1)) == 0
        assert len(files(spool)) == 1

    with_store(tmp_path, scenario)


def test_a_crash_between_the_last_deletion_and_the_segment_leaves_an_orphan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(store: SqlStore) -> None:
        spool = LocalSpool(tmp_path / "spool")
        fax = await a_fax_of(store, spool, b"x")
        await go(store, fax.id, "delivered")

        async def crash(*_: object) -> None:
            raise StoreUnavailable("a crash")

        with monkeypatch.context() as patch:
            patch.setattr(Retention, "_free_segments", crash)
            with pytest.raises(StoreUnavailable):
                await keeper(store, spool).sweep(NOW + WEEK)
        assert len(files(spool)) == 1
        assert await orphans.sweep(store, LocalSpool(spool.root), NOW + timedelta(days=4000)) == 1
        assert files(spool) == []

    with_store(tmp_path, scenario)


# damage


def test_a_damaged_stretch_concerns_its_own_mail_only(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        spool = LocalSpool(tmp_path / "spool")
        faxes = [await a_fax_of(store, spool, text * 2000) for text in (b"one", b"two", b"six")]
        [segment] = files(spool)
        with segment.open("r+b") as file:
            file.seek((stretch_of(faxes[1].documents[0].path) or Stretch("", 0, 0)).start + 100)
            file.write(b"?")
        for number, fax in enumerate(faxes):
            with spool.open_document(fax.documents[0]) as opened:
                document = VerifiedDocument(opened, fax.documents[0])  # type: ignore[arg-type]  # as the uploader
                assert len(document.read()) == 6000
                if number == 1:
                    with pytest.raises(Damaged):
                        document.read()
                else:
                    assert document.read() == b""
        await store.run(lambda tx: None)
        problems = verify(tmp_path).problems
        assert [problem for problem in problems if "is damaged" in problem] == list(problems)
        assert [faxes[1].id in problem for problem in problems] == [True]

    with_store(tmp_path, scenario)


def test_a_document_ends_with_its_stretch_whatever_its_record_says(spool: LocalSpool) -> None:
    """A hostile mail may have written its documents' places."""

    async def scenario() -> None:
        first, second = await appended(spool, b"hostile", b"of somebody else" * 1000)
        assert place(first).segment == place(second).segment
        facts = {"name": "a", "content_type": "x/y", "sha256": "", "path": first.relpath}
        for offset in (0, 7, BLOCK, 2 * BLOCK):
            document = Document(**facts, size=10**6, offset=offset, length=10**6)  # type: ignore[arg-type]  # literals
            with spool.open_document(document) as file:
                assert file.read() == b"hostile"[offset:]

    asyncio.run(scenario())


def test_a_worker_gets_a_copy_of_the_stretch_that_it_cannot_write(spool: LocalSpool) -> None:
    async def scenario() -> None:
        first, second = await appended(spool, b"one", b"two")
        for mail, text in ((first, b"one"), (second, b"two")):
            descriptor = open_descriptor(spool.root, mail.relpath)
            try:
                assert os.lseek(descriptor, 0, os.SEEK_END) == 3
                assert os.pread(descriptor, 100, 0) == text
                with pytest.raises(OSError, match="Bad file descriptor"):
                    os.pwrite(descriptor, b"x", 0)
            finally:
                os.close(descriptor)
        with arrived(spool, b"in memory").source(most=0) as source:
            descriptor = open_descriptor(spool.root, str(source))
        assert os.pread(descriptor, 100, 0) == b"in memory"
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.pwrite(descriptor, b"x", 0)
        os.close(descriptor)

    asyncio.run(scenario())


# deletion


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("holes", [True, False], ids=["holes", "zeros"])
def test_retention_frees_the_disk_mail_by_mail_and_then_the_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holes: bool
) -> None:
    if not holes:
        monkeypatch.setattr(stored_files, "_fallocate", lambda *_: -1)

    async def scenario(store: SqlStore) -> None:
        spool = LocalSpool(tmp_path / "spool")
        first, second = [await a_fax_of(store, spool, text * 100_000) for text in (b"one", b"two")]
        [segment] = files(spool)
        allocated = segment.stat().st_blocks
        await go(store, first.id, "delivered")
        assert await keeper(store, spool).sweep(NOW + WEEK) == Deleted(1, 0, 0, 0)
        assert b"one" not in segment.read_bytes()
        assert (segment.stat().st_blocks < allocated * 0.6) is holes
        with spool.open_document(second.documents[0]) as document:
            assert document.read() == b"two" * 100_000
        with pytest.raises(NotFound):
            spool.open_document((await stored(store, first.id)).documents[0])
        # A segment of which a mail was deleted gets no more.
        [third] = await appended(spool, b"third")
        assert spool.root / place(third).segment != segment
        await go(store, second.id, "delivered")
        assert await keeper(store, spool).sweep(NOW + WEEK) == Deleted(1, 0, 0, 0)
        assert not segment.exists()
        assert files(spool) == [spool.root / place(third).segment]

    with_store(tmp_path, scenario)


@pytest.mark.usefixtures("database")
def test_a_segment_is_kept_while_a_mail_in_it_may_still_get_its_record(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        spool = LocalSpool(tmp_path / "spool")
        fax = await a_fax_of(store, spool, b"old")
        arriving = arrived(spool, b"arriving")
        await arriving.store(b"")
        [segment] = files(spool)
        await go(store, fax.id, "delivered")
        assert await keeper(store, spool).sweep(NOW + WEEK) == Deleted(1, 0, 0, 0)
        assert content(spool, arriving) == b"arriving"
        arriving.keep()
        assert segment.exists()

    with_store(tmp_path, scenario)


def test_a_deletion_that_was_not_synced_is_not_audited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(store: SqlStore) -> None:
        spool = LocalSpool(tmp_path / "spool")
        fax = await a_fax_of(store, spool, b"x")
        await go(store, fax.id, "delivered")
        real = os.fsync

        def broken(descriptor: int) -> None:
            if os.readlink(f"/proc/self/fd/{descriptor}").endswith(".segment"):
                raise OSError(errno.EIO, "Input/output error")
            real(descriptor)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", broken)
            with pytest.raises(StoreUnavailable, match="synced"):
                await keeper(store, spool).sweep(NOW + WEEK)
        assert await store.run(lambda tx: tx.audit.newest()) == []
        assert await keeper(store, spool).sweep(NOW + WEEK) == Deleted(1, 0, 0, 0)
        assert files(spool) == []

    with_store(tmp_path, scenario)


@pytest.mark.usefixtures("database")
def test_a_deletion_of_a_stretch_whose_segment_is_gone_is_done(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        spool = LocalSpool(tmp_path / "spool")
        fax = await a_fax_of(store, spool, b"x")
        files(spool)[0].unlink()
        await go(store, fax.id, "delivered")
        assert await keeper(store, spool).sweep(NOW + WEEK) == Deleted(1, 0, 0, 0)

    with_store(tmp_path, scenario)


# backup


def test_a_backup_has_the_segments_and_deleted_mails_stay_holes(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        spool = LocalSpool(tmp_path / "state" / "spool")
        texts = [bytes([65 + number]) * (1 << 19) for number in range(6)]
        faxes = [await a_fax_of(store, spool, text) for text in texts]
        for fax in faxes[:4]:
            await go(store, fax.id, "delivered")
        assert (await keeper(store, spool).sweep(NOW + WEEK)).documents == 4
        await appended(spool, b"arrives during the backup")
        made = await asyncio.to_thread(back_up, tmp_path / "state", tmp_path / "backup", "1")
        assert made.missing == ()
        assert verify(tmp_path / "backup") == (6, 2, ())
        relpath = file_of(faxes[5].documents[0].path)
        restore_files(tmp_path / "backup", tmp_path / "new")
        for copy in (tmp_path / "backup" / "spool" / relpath, tmp_path / "new" / "spool" / relpath):
            facts = copy.stat()
            assert facts.st_size == 6 << 19
            assert facts.st_blocks * 512 < 3 << 19
        restored = LocalSpool(tmp_path / "new" / "spool")
        for fax, text in zip(faxes[4:], texts[4:], strict=True):
            with restored.open_document(fax.documents[0]) as document:
                assert document.read() == text

    (tmp_path / "state").mkdir()
    with_store(tmp_path / "state", scenario)


def test_a_backup_without_a_segment_that_it_needs_is_found_out(tmp_path: Path) -> None:
    async def scenario(store: SqlStore) -> None:
        spool = LocalSpool(tmp_path / "state" / "spool")
        fax = await a_fax_of(store, spool, b"x")
        path_of(spool, fax).unlink()
        made = await asyncio.to_thread(back_up, tmp_path / "state", tmp_path / "backup", "1")
        assert made.missing == (file_of(fax.documents[0].path),)

    (tmp_path / "state").mkdir()
    with_store(tmp_path / "state", scenario)
