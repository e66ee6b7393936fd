"""The spool: committed files exist, aborted ones do not, and documents are read back decoded."""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
import os
import random
import textwrap
import threading
from pathlib import Path

import pytest

from mailbridge.errors import NotFound, StoreUnavailable
from mailbridge.model import Document, Encoding
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.spool_file import SpoolFile
from mailbridge.store.spool_paths import derived_path
from tests.wait_helpers import PATIENCE


@pytest.fixture
def spool(tmp_path: Path) -> LocalSpool:
    return LocalSpool(tmp_path / "spool")


def stored(spool: LocalSpool, before: bytes, body: bytes, encoding: Encoding, size: int) -> Document:
    path = spool.store_received("doc_1", before + body + b"\r\n--the next part")
    return Document(
        name="a", content_type="x/y", size=size, sha256="", path=path, offset=len(before), length=len(body), encoding=encoding
    )


def mails(spool: LocalSpool) -> list[Path]:
    return [path for path in (spool.root / "mail").rglob("*") if path.is_file()]


def test_a_committed_mail_has_a_private_mode(spool: LocalSpool) -> None:
    file = spool.create("env_1")
    file.write(b"one ")
    file.write(b"two")
    asyncio.run(file.commit())
    path = spool.path(file.relpath)
    assert path.read_bytes() == b"one two"
    assert path.name == "env_1.eml"
    assert path.stat().st_mode & 0o777 == 0o600
    assert file.size == 7
    spool.delete(file.relpath)
    spool.delete(file.relpath)
    assert mails(spool) == []


def test_abort_leaves_nothing_and_commit_after_it_is_refused(spool: LocalSpool) -> None:
    file = spool.create("env_1")
    file.write(b"x")
    file.abort()
    file.abort()
    file.write(b"y")
    assert mails(spool) == []
    with pytest.raises(StoreUnavailable):
        asyncio.run(file.commit())
    assert spool.healthy


def test_abort_during_a_write_waits_for_it(spool: LocalSpool, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()
    real = os.write

    def slow(descriptor: int, data: bytes) -> int:
        begun.set()
        assert go_on.wait(PATIENCE)
        return real(descriptor, data)

    file = spool.create("env_1")
    monkeypatch.setattr(os, "write", slow)
    writer = threading.Thread(target=file.write, args=(b"x",))
    writer.start()
    assert begun.wait(PATIENCE)
    file.abort()
    assert len(mails(spool)) == 1
    go_on.set()
    writer.join(PATIENCE)
    assert mails(spool) == []


def test_a_failed_fsync_is_not_retried(spool: LocalSpool, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(descriptor: int) -> None:
        raise OSError(5, "Input/output error", "/secret/path")

    file = spool.create("env_1")
    file.write(b"x")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        with pytest.raises(StoreUnavailable) as caught:
            asyncio.run(file.commit())
    assert "/" not in str(caught.value).replace("Input/output", "")
    assert not spool.healthy
    assert mails(spool) == []
    with pytest.raises(StoreUnavailable):
        asyncio.run(file.commit())


def test_the_probe_finds_a_spool_that_cannot_be_written(spool: LocalSpool) -> None:
    assert spool.probe()
    away = spool.root.rename(spool.root.with_name("elsewhere"))
    assert not spool.probe()
    away.rename(spool.root)
    assert spool.probe()
    assert not (spool.root / "probe").exists()


def test_after_a_failed_fsync_the_probe_fails_until_a_mail_is_synced_or_some_time_has_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    spool = LocalSpool(tmp_path / "spool", lambda: now)

    def broken(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    def commit(id: str) -> None:
        file = spool.create(id)
        file.write(b"x")
        asyncio.run(file.commit())

    def fail(id: str) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", broken)
            with pytest.raises(StoreUnavailable):
                commit(id)

    fail("env_1")
    assert not spool.probe()
    commit("env_2")
    assert spool.probe()
    fail("env_3")
    now += 9.9
    assert not spool.probe()
    now += 0.2
    assert spool.probe()


def spooled_mail(spool: LocalSpool) -> SpoolFile:
    file = spool.create("env_1")
    file.write(b"x")
    asyncio.run(file.commit())
    return file


def test_derived_content_is_stored_beside_its_mail_and_goes_with_it(spool: LocalSpool) -> None:
    mail = spooled_mail(spool)
    asyncio.run(spool.store_derived(mail, b"%PDF"))
    path = spool.path(derived_path(mail.relpath))
    assert path == spool.path(mail.relpath).with_suffix(".derived")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"%PDF", 0o600)
    mail.abort()
    assert mails(spool) == []


def test_derived_content_and_its_name_are_synced(spool: LocalSpool, monkeypatch: pytest.MonkeyPatch) -> None:
    mail, synced, real = spooled_mail(spool), list[str](), os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    asyncio.run(spool.store_derived(mail, b"%PDF"))
    path = spool.path(derived_path(mail.relpath))
    assert synced == [str(path), str(path.parent)]


@pytest.mark.parametrize(("size", "in_loop"), [(1 << 16, True), ((1 << 16) + 1, False)])
def test_large_derived_content_is_written_outside_the_event_loop(
    spool: LocalSpool, monkeypatch: pytest.MonkeyPatch, size: int, in_loop: bool
) -> None:
    mail, writers, real = spooled_mail(spool), list[bool](), os.write

    def write(descriptor: int, data: bytes) -> int:
        if len(data) == size:
            writers.append(threading.current_thread() is threading.main_thread())
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    asyncio.run(spool.store_derived(mail, bytes(size)))
    assert writers == [in_loop]
    assert spool.path(derived_path(mail.relpath)).stat().st_size == size


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_derived_content_that_the_disk_does_not_take_is_gone_and_its_mail_stays(
    spool: LocalSpool, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error", "/secret/path")

    mail = spooled_mail(spool)

    async def run() -> None:
        monkeypatch.setattr(os, call, broken)
        with pytest.raises(StoreUnavailable) as caught:
            await spool.store_derived(mail, b"%PDF")
        assert "/secret" not in str(caught.value)

    asyncio.run(run())
    assert not spool.healthy
    assert mails(spool) == [spool.path(mail.relpath)]


def test_a_full_disk_names_no_path(spool: LocalSpool, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device", "/secret/path")

    file = spool.create("env_1")
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreUnavailable, match=r"No space left on device; make room: [^/]*$"):
        file.write(b"x")
    file.abort()


@pytest.mark.parametrize("seed", range(12))
def test_base64_equals_stdlib(spool: LocalSpool, seed: int) -> None:
    chance = random.Random(seed)
    content = chance.randbytes(chance.choice((0, 1, 2, 3, 100, 49_152, 200_001)))
    ending = chance.choice(("\r\n", "\n", "\r\n \t"))
    text = ending.join(textwrap.wrap(base64.b64encode(content).decode(), chance.choice((4, 60, 76, 77, 998))))
    document = stored(spool, b"head\r\n\r\n", text.encode(), "base64", len(content))
    with spool.open_document(document) as file:
        assert file.read() == content == base64.b64decode(text)


def test_base64_as_clients_write_it(spool: LocalSpool) -> None:
    for body, content in (
        (b"YWJj\r\nZA", b"abcd"),
        (b"YWJjZA==\r\nfooter", b"abcd"),
        (b"YWJj!ZGVm", b"abcdef"),
        (b"YWJjZ", b"abc"),
    ):
        with spool.open_document(stored(spool, b"", body, "base64", len(content))) as file:
            assert file.read() == content


@pytest.mark.parametrize("seed", range(6))
def test_quoted_printable_equals_stdlib(spool: LocalSpool, seed: int) -> None:
    chance = random.Random(seed)
    content = bytes(chance.choice(b"abc =\t.\xd7\x90") for _ in range(chance.choice((3, 400, 100_000))))
    body = binascii.b2a_qp(content).replace(b"\n", b"\r\n")
    with spool.open_document(stored(spool, b"x\r\n", body, "quoted-printable", len(content))) as file:
        assert file.read() == binascii.a2b_qp(body)


def test_quoted_printable_without_line_ends(spool: LocalSpool) -> None:
    content = "שלום".encode() * 30_000
    body = b"".join(b"=%02X" % byte for byte in content)
    with spool.open_document(stored(spool, b"", body, "quoted-printable", len(content))) as file:
        assert file.read() == content


def test_seek_and_tell_count_decoded_bytes(spool: LocalSpool) -> None:
    content = random.Random(1).randbytes(150_000)
    document = stored(spool, b"head", base64.encodebytes(content), "base64", len(content))
    with spool.open_document(document) as file:
        assert file.seek(0, io.SEEK_END) == len(content)
        assert file.read(1) == b""
        assert file.seek(0) == 0
        assert file.read(10) == content[:10]
        assert file.tell() == 10
        file.seek(140_000)
        assert file.read() == content[140_000:]
        file.seek(5)
        assert file.read(5) == content[5:10]
        file.seek(-3, io.SEEK_CUR)
        assert file.read(3) == content[7:10]
        with pytest.raises(ValueError, match="negative"):
            file.seek(-1)
        with pytest.raises(OSError, match="fileno"):
            file.fileno()


def test_a_received_document_is_written_from_pieces(spool: LocalSpool) -> None:
    path = spool.store_received("in_1", iter([b"%PDF", b"-1.4"]))
    assert path.startswith("received/")
    assert spool.path(path).read_bytes() == b"%PDF-1.4"


def test_a_path_outside_the_spool_is_refused(spool: LocalSpool) -> None:
    for path in ("../secret", "/etc/passwd", "mail/../../secret"):
        with pytest.raises(NotFound):
            spool.path(path)


def test_a_document_whose_file_was_deleted(spool: LocalSpool) -> None:
    document = stored(spool, b"", b"x", "identity", 1)
    spool.delete(document.path)
    with pytest.raises(NotFound):
        spool.open_document(document)
