"""The spool in PostgreSQL, which several nodes share: durable before its record, byte for byte elsewhere, and a cache."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import os
import resource
import shutil
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, cast

import pytest

from mailbridge.config import FaxOptions
from mailbridge.errors import NotFound, StoreUnavailable, Undecided
from mailbridge.fax.verified_document import VerifiedDocument
from mailbridge.model import Document, Fax, QueuedMail, new_id
from mailbridge.runtime import Runtime
from mailbridge.store import body_cache, stored_files
from mailbridge.store.bodies import Bodies
from mailbridge.store.body_cache import BodyCache
from mailbridge.store.body_rows import PIECE
from mailbridge.store.buffered_mail import MEMORY, SMALL
from mailbridge.store.postgres import PostgresStore
from mailbridge.store.postgres_bodies import PostgresBodies
from mailbridge.store.retention import Deleted, Retention
from mailbridge.store.shared_mail import SharedMail
from mailbridge.store.shared_spool import SharedSpool
from mailbridge.store.spool_paths import derived_path, received_name
from mailbridge.store.spools import open_spool, upkeep
from mailbridge.store.unnamed_bodies import AGE, UnnamedBodies
from mailbridge.submission.acceptance import Acceptance
from tests.factories import NOW, a_fax, an_envelope
from tests.postgres_server import PostgresServer
from tests.store import factories
from tests.store.factories import a_store, ask, go, stored
from tests.wait_helpers import PATIENCE

FUTURE = datetime.now(UTC) + timedelta(days=365)
BLOCK = bytes(range(256)) * 256


@pytest.fixture(autouse=True)
def server(postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresServer]:
    monkeypatch.setattr(factories, "server", postgres_server)
    yield postgres_server
    postgres_server.drop_all()


class Node:
    """One node with its store and its spool."""

    def __init__(self, store: PostgresStore, path: Path) -> None:
        self.store = store
        assert store.bodies is not None
        self.bodies: Bodies = store.bodies
        self.spool = SharedSpool(path / "cache", self.bodies)

    @property
    def cached(self) -> list[Path]:
        return sorted(path for path in self.spool.cache.root.iterdir() if not path.name.endswith(".part"))


def with_nodes(path: Path, scenario: Callable[..., Awaitable[None]], count: int = 1) -> None:
    """Run a scenario with so many nodes on one database, each with a directory of its own."""

    async def run(nodes: list[Node]) -> None:
        if len(nodes) == count:
            await scenario(*nodes)
            return
        store = a_store(path)
        assert isinstance(store, PostgresStore)
        async with store:
            await run([*nodes, Node(store, path / f"node{len(nodes)}")])

    asyncio.run(run([]))


def arrived(node: Node, content: bytes) -> SharedMail:
    """Receive a mail, in the pieces in which a socket brings it."""
    mail = node.spool.receive(new_id("env"))
    for start in range(0, len(content), len(BLOCK)):
        mail.write(content[start : start + len(BLOCK)])
    return mail


def draft(node: Node, content: bytes) -> SharedMail:
    mail = node.spool.create(new_id("env"))
    mail.write(content)
    return mail


def found_in(mail: SharedMail, content: bytes, derived: bytes) -> list[Document]:
    """Return the mail itself, and what was derived from it, as documents at its source."""
    with mail.source(most=0) as source:
        one = a_fax().documents[0]
        parts = ((str(source), content), (derived_path(str(source)), derived))
        return [
            replace(
                one,
                path=path,
                offset=0,
                length=len(part),
                size=len(part),
                encoding="identity",
                sha256=hashlib.sha256(part).hexdigest(),
            )
            for path, part in parts
            if part
        ]


async def record(node: Node, mail: SharedMail, documents: list[Document]) -> Fax:
    fax = a_fax(documents=tuple(map(mail.stored, documents)))
    envelope = replace(an_envelope(NOW), path=mail.relpath, size=mail.size)
    queued = QueuedMail(envelope=envelope, faxes=(replace(fax, envelope_id=envelope.id),), repeat_key=None, body=mail.body)
    await node.store.run(lambda tx: tx.submissions.add_all([queued]))
    return await stored(node.store, fax.id)


async def accepted(node: Node, mail: SharedMail, content: bytes, derived: bytes = b"") -> Fax:
    documents = found_in(mail, content, derived)
    await mail.store(derived)
    fax = await record(node, mail, documents)
    mail.keep()
    return fax


def uploaded(node: Node, document: Document) -> bytes:
    """Read a document as an upload does, which verifies it."""
    with VerifiedDocument(cast(BinaryIO, node.spool.open_document(document)), document) as file:
        return b"".join(iter(lambda: file.read(1 << 16), b""))


def refuse(*_: object, **__: object) -> Any:
    raise AssertionError("it was read from the database")


def full(*_: object, **__: object) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full_in(node: Node, is_full: Callable[[], bool] = lambda: True) -> Callable[[int, Any], int]:
    """Return a write(2) for which the disk of the cache is full."""
    write = os.write

    def limited(descriptor: int, data: Any) -> int:
        is_there = os.readlink(f"/proc/self/fd/{descriptor}").startswith(str(node.spool.cache.root))
        return full() if is_there and is_full() else write(descriptor, data)

    return limited


def largest_backend(server: PostgresServer) -> int:
    """Return the bytes of memory that the largest process of the server has for itself."""
    [main, *_] = (server.directory / "data/postmaster.pid").read_text().split()
    sizes = [0]
    for process in Path(f"/proc/{main}/task/{main}/children").read_text().split():
        with suppress(OSError):
            facts = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
            sizes.append(int(facts.get("RssAnon", "0 kB").split()[0]) << 10)
    return max(sizes)


SIZES = [1, PIECE - 3, PIECE, PIECE + 1, SMALL, SMALL + 1, 3 * SMALL + 7]


@pytest.mark.parametrize("begin", [arrived, draft])
@pytest.mark.parametrize("derived", [b"", b"%PDF"])
@pytest.mark.parametrize("size", SIZES)
def test_a_mail_of_any_size_is_the_same_on_every_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, derived: bytes, begin: Callable[[Node, bytes], SharedMail]
) -> None:
    content = (BLOCK * (size // len(BLOCK) + 1))[:size]

    async def scenario(one: Node, other: Node) -> None:
        fax = await accepted(one, begin(one, content), content, derived)
        expected = [part for part in (content, derived) if part]
        assert [uploaded(other, document) for document in fax.documents] == expected
        assert one.spool.memory == MEMORY
        assert ask(tmp_path, "SELECT size, (SELECT sum(length(bytes)) FROM body_piece) FROM body") == [(size + len(derived),) * 2]
        with monkeypatch.context() as patch:  # the accepting node has it, and by now the other one
            patch.setattr(one.bodies, "open", refuse)
            patch.setattr(other.bodies, "open", refuse)
            assert [uploaded(node, document) for node in (one, other) for document in fax.documents] == expected * 2

    with_nodes(tmp_path, scenario, count=2)


def test_a_mail_that_fits_a_row_is_stored_with_its_record_and_not_before(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        mail = arrived(node, b"a mail")
        documents = found_in(mail, b"a mail", b"")
        await mail.store(b"")
        assert ask(tmp_path, "SELECT count(*) FROM body") == [(0,)]
        await record(node, mail, documents)
        assert ask(tmp_path, "SELECT name FROM body") == [(mail.relpath,)]
        both = "SELECT count(DISTINCT xmin::text) FROM (SELECT xmin FROM body UNION ALL SELECT xmin FROM envelope) x"
        assert ask(tmp_path, both) == [(1,)]

    with_nodes(tmp_path, scenario)


def test_a_refused_mail_leaves_nothing(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        for content in (b"small", bytes(2 * SMALL)):
            mail = arrived(node, content)
            await mail.begin_commit()
            mail.abort()
            mail.abort()
            mail.write(b"more")
        put = arrived(node, bytes(2 * SMALL))
        await put.store(b"")
        assert node.bodies.existing([put.relpath])
        put.abort()
        await node.spool.run(lambda: None)
        while node.bodies.existing([put.relpath]):
            await asyncio.sleep(0.01)
        assert ask(tmp_path, "SELECT count(*) FROM body_piece") == [(0,)]
        assert list(node.spool.cache.root.iterdir()) == []
        assert node.spool.memory == MEMORY

    with_nodes(tmp_path, scenario)


def test_a_draft_is_looked_at_before_it_is_sent_and_may_change_then(tmp_path: Path) -> None:
    async def scenario(node: Node, other: Node) -> None:
        content = b"a draft"
        mail = draft(node, content)
        documents = found_in(mail, content, b"%PDF of today")
        await mail.store_draft(b"%PDF of today")
        assert [uploaded(node, mail.stored(one)) for one in documents] == [content, b"%PDF of today"]
        await mail.discard_draft()
        fax = await accepted(node, mail, content, b"%PDF of the next configuration, which is longer")
        for each in (node, other):
            assert uploaded(each, fax.documents[1]) == b"%PDF of the next configuration, which is longer"

    with_nodes(tmp_path, scenario, count=2)


def test_p16_a_mail_of_40_mb_costs_hardly_any_memory_and_is_the_same_on_another_node(
    tmp_path: Path, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the nodes, which are this process, nor a backend of the server has it in memory as a whole."""
    of_backends = list[int]()
    piece = PostgresBodies._piece

    def noted(self: PostgresBodies, name: str, n: int) -> bytes:
        of_backends.append(largest_backend(server))
        return piece(self, name, n)

    def peak() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10

    async def sent(one: Node, other: Node, blocks: int) -> None:
        mail, digest = one.spool.receive(new_id("env"), announced=blocks * len(BLOCK)), hashlib.sha256()
        for _ in range(blocks):
            mail.write(BLOCK)
            digest.update(BLOCK)
        document = replace(found_in(mail, b"x", b"")[0], length=mail.size, size=mail.size, sha256=digest.hexdigest())
        pieces = mail._pieces

        def noted() -> Iterator[bytes]:
            for n, piece in enumerate(pieces()):
                if n % 16 == 0:
                    of_backends.append(largest_backend(server))
                yield piece

        mail._pieces = noted  # type: ignore[method-assign]  # the memory is looked at meanwhile
        await mail.store(b"")
        fax = await record(one, mail, [document])
        mail.keep()
        with VerifiedDocument(cast(BinaryIO, other.spool.open_document(fax.documents[0])), fax.documents[0]) as file:
            while file.read(1 << 16):
                pass

    async def scenario(one: Node, other: Node) -> None:
        monkeypatch.setattr(PostgresBodies, "_piece", noted)
        await sent(one, other, 32)
        before, before_of_backends = peak(), max(of_backends)
        of_backends.clear()
        await sent(one, other, 640)
        assert before_of_backends > 1 << 20
        assert len(of_backends) > 180
        assert peak() - before < 8 << 20
        assert max(of_backends) - before_of_backends < 8 << 20

    with_nodes(tmp_path, scenario, count=2)


@pytest.mark.parametrize("blocks", [1, 40])
def test_p16_what_was_not_accepted_is_swept_once_it_is_old_and_never_while_it_is_written(tmp_path: Path, blocks: int) -> None:
    """A node ends between the first chunk and the record. Another one is in the middle of a mail, and one has just put it."""
    content = BLOCK * blocks

    async def scenario(one: Node, other: Node) -> None:
        sweep = UnnamedBodies(other.bodies, lambda: datetime.now(UTC)).sweep
        dead, put, named = (arrived(one, BLOCK * 40) for _ in range(3))
        await dead.store(b"")
        kept = await accepted(one, named, BLOCK * 40)
        received = one.spool.store_received(received_name("fax_1", 2), b"of no event")
        ask(tmp_path, "UPDATE body SET stored_at = 0")
        documents = found_in(put, content, b"")
        await put.store(b"")

        reached, go_on = threading.Event(), threading.Event()

        def slowly() -> Iterator[bytes]:
            yield BLOCK * 20
            reached.set()
            assert go_on.wait(PATIENCE)
            yield BLOCK

        writing = asyncio.ensure_future(asyncio.to_thread(one.bodies.put, "mail/00/env_slow.eml", slowly()))
        assert await asyncio.to_thread(reached.wait, PATIENCE)
        assert await sweep(datetime.now(UTC) - AGE) == 2
        go_on.set()
        await writing
        assert one.bodies.existing([dead.relpath, received]) == set()
        assert one.bodies.size("mail/00/env_slow.eml") == 21 * len(BLOCK)
        await record(one, put, documents)
        assert uploaded(other, kept.documents[0]) == BLOCK * 40

    with_nodes(tmp_path, scenario, count=2)


def test_p16_a_mail_whose_record_comes_while_it_is_swept_is_kept_or_refused(tmp_path: Path) -> None:
    """A node that stood still for hours between body and record either keeps the body, or gives no 250."""

    async def scenario(one: Node, other: Node) -> None:
        early, late = (arrived(one, BLOCK * 40) for _ in range(2))
        of_early, of_late = (found_in(mail, BLOCK * 40, b"") for mail in (early, late))
        for mail in (early, late):
            await mail.store(b"")
        ask(tmp_path, "UPDATE body SET stored_at = 0")
        names = other.bodies.unnamed(datetime(1970, 1, 1, tzinfo=UTC), FUTURE).names
        assert sorted(names) == sorted([early.relpath, late.relpath])
        fax = await record(one, early, of_early)
        assert other.bodies.delete(names, before=datetime.now(UTC) - AGE) == [late.relpath]
        with pytest.raises(StoreUnavailable, match="took too long"):
            await record(one, late, of_late)
        assert ask(tmp_path, "SELECT count(*) FROM fax") == [(1,)]
        assert uploaded(other, fax.documents[0]) == BLOCK * 40

    with_nodes(tmp_path, scenario, count=2)


def test_what_has_a_record_is_never_swept(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        fax = await accepted(node, arrived(node, b"a mail"), b"a mail")
        received = new_id("fax")
        names = [node.spool.store_received(received_name(received, n), b"a fax") for n in (1, 2)]
        data = {"document": {"path": names[0]}, "documents": [{"path": name} for name in names]}
        await node.store.run(lambda tx: tx.events.emit("fax.received", data, NOW, received))
        pending = node.spool.store_received("fax_out", b"is being deleted")
        ask(tmp_path, "INSERT INTO pending_deletion (path, files, lines) VALUES (?, '[]', '[]')", pending)
        assert await UnnamedBodies(node.bodies, lambda: datetime.now(UTC)).sweep(FUTURE) == 0
        assert node.bodies.existing([*names, pending, fax.documents[0].path]) == {*names, pending, fax.documents[0].path}

    with_nodes(tmp_path, scenario)


def test_without_the_database_a_mail_is_refused_and_leaves_nothing_half(tmp_path: Path, server: PostgresServer) -> None:
    async def scenario(node: Node) -> None:
        mail = arrived(node, BLOCK * 40)
        stopped = False
        pieces = mail._pieces

        def cut_off() -> Iterator[bytes]:
            nonlocal stopped
            for n, piece in enumerate(pieces()):
                if n == 20 and not stopped:
                    stopped = True
                    server.stop()
                yield piece

        mail._pieces = cut_off  # type: ignore[method-assign]  # the server goes in the middle
        try:
            with pytest.raises(StoreUnavailable):
                await mail.store(b"")
            assert stopped
            with pytest.raises(StoreUnavailable):
                node.spool.store_received("fax_1", b"x")
            with pytest.raises(StoreUnavailable):
                node.spool.open("mail/00/env_1.eml")
            mail.abort()
        finally:
            server.start()
        while True:
            with suppress(StoreUnavailable):
                assert node.bodies.existing([mail.relpath]) == set()
                break
        assert ask(tmp_path, "SELECT count(*) FROM body_piece") == [(0,)]

    with_nodes(tmp_path, scenario)


def test_an_upload_whose_database_goes_ends_as_unavailable_and_not_as_damaged(
    tmp_path: Path, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache takes nothing, so the document comes from the database piece by piece."""

    async def scenario(one: Node, other: Node) -> None:
        fax = await accepted(one, arrived(one, BLOCK * 40), BLOCK * 40)
        document = fax.documents[0]
        with monkeypatch.context() as patch:
            patch.setattr(body_cache, "write_all", full)
            file = VerifiedDocument(cast(BinaryIO, other.spool.open_document(document)), document)
        assert other.cached == []
        assert file.read(len(BLOCK)) == BLOCK
        server.stop()
        try:
            with pytest.raises(StoreUnavailable):
                file.readall()
        finally:
            server.start()
        file.seek(0)
        assert b"".join(iter(lambda: file.read(1 << 16), b"")) == BLOCK * 40

    with_nodes(tmp_path, scenario, count=2)


@pytest.mark.parametrize("blocks", [1, 40])
def test_a_mail_whose_commit_is_not_answered_stays_and_costs_this_node_nothing(
    tmp_path: Path, blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(node: Node) -> None:
        mail, content = arrived(node, BLOCK * blocks), BLOCK * blocks
        documents = found_in(mail, content, b"")
        await mail.store(b"")
        envelope = replace(an_envelope(NOW), path=mail.relpath, size=mail.size)
        fax = a_fax(documents=tuple(map(mail.stored, documents)), envelope_id=envelope.id)
        queued = QueuedMail(envelope=envelope, faxes=(fax,), repeat_key=None, body=mail.body)
        run = node.store.run

        async def unanswered(work: Any) -> Any:
            await run(work)
            raise Undecided("the connection is lost")

        monkeypatch.setattr(node.store, "run", unanswered)
        none: Any = None
        limits = cast(Any, SimpleNamespace(check_stored=lambda *_: None))
        runtime = Runtime(node.store, node.spool, lambda: NOW, lambda: 0.0)
        with pytest.raises(Undecided):
            await Acceptance(none, limits, none, runtime, FaxOptions())._store(queued, "client", mail)
        monkeypatch.undo()
        assert node.spool.memory == MEMORY
        assert mail._file is None or mail._file._descriptor < 0
        node.spool.cache.empty()
        assert uploaded(node, (await stored(node.store, fax.id)).documents[0]) == content

    with_nodes(tmp_path, scenario)


@pytest.mark.parametrize("whole", [False, True])
def test_the_cache_may_be_emptied_at_any_moment(tmp_path: Path, whole: bool) -> None:
    async def scenario(node: Node) -> None:
        def emptied() -> None:
            if whole:
                shutil.rmtree(node.spool.cache.root)
            else:
                for path in node.spool.cache.root.iterdir():
                    path.unlink()

        content = BLOCK * 40
        mail = arrived(node, content)
        emptied()
        mail.write(b"the end")
        documents = found_in(mail, content + b"the end", b"%PDF")
        await mail.store(b"%PDF")
        fax = await record(node, mail, documents)
        mail.keep()
        small = await accepted(node, arrived(node, b"small"), b"small")
        for _ in range(2):
            assert [uploaded(node, one) for one in fax.documents] == [content + b"the end", b"%PDF"]
            descriptor = node.spool.open_descriptor(small.documents[0].path)
            with io.FileIO(descriptor) as file, node.spool.open(fax.documents[0].path) as opened:
                emptied()
                assert file.readall() == b"small"
                assert opened.readall() == content + b"the end%PDF"
        assert uploaded(node, (await accepted(node, arrived(node, content), content)).documents[0]) == content

    with_nodes(tmp_path, scenario)


def test_on_a_full_disk_mails_are_read_from_the_database_and_large_ones_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(node: Node) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(body_cache, "write_all", full)
            patch.setattr(os, "write", full_in(node))
            small = await accepted(node, arrived(node, b"small"), b"small")
            assert uploaded(node, small.documents[0]) == b"small"
            with pytest.raises(StoreUnavailable, match="make room"):
                node.spool.open_descriptor(small.documents[0].path)
            with pytest.raises(StoreUnavailable, match="make room"):
                draft(node, BLOCK * 40)
            path = node.spool.store_received("fax_1", BLOCK * 129)
            large = replace(small.documents[0], path=path, length=129 * len(BLOCK), size=129 * len(BLOCK))
            with node.spool.open(path) as file:
                assert file.readall() == BLOCK * 129
            with await node.spool.open_to_upload(small.documents[0]) as to_upload:
                assert to_upload.readall() == b"small"
            with pytest.raises(StoreUnavailable, match="make room"):
                await node.spool.open_to_upload(large)
        with await node.spool.open_to_upload(large) as to_upload:
            assert to_upload.readall() == BLOCK * 129
        assert uploaded(node, (await accepted(node, arrived(node, BLOCK * 40), BLOCK * 40)).documents[0]) == BLOCK * 40

    with_nodes(tmp_path, scenario)


def test_what_the_cache_holds_makes_room_for_a_mail_that_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full while anything is cached."""

    async def scenario(node: Node) -> None:
        fax = await accepted(node, arrived(node, b"cached"), b"cached")
        assert len(node.cached) == 1
        monkeypatch.setattr(os, "write", full_in(node, lambda: bool(node.cached)))
        large = await accepted(node, arrived(node, BLOCK * 40), BLOCK * 40)
        monkeypatch.undo()
        assert [uploaded(node, one.documents[0]) for one in (fax, large)] == [b"cached", BLOCK * 40]

    with_nodes(tmp_path, scenario)


def test_a_start_empties_the_cache_whose_files_a_power_failure_may_have_damaged(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        fax = await accepted(node, arrived(node, b"a mail"), b"a mail")
        [file] = node.cached
        file.write_bytes(bytes(6))
        node.spool = SharedSpool(node.spool.cache.root, node.bodies)
        assert uploaded(node, fax.documents[0]) == b"a mail"

    with_nodes(tmp_path, scenario)


def test_the_cache_has_bounds_and_keeps_nothing_that_was_deleted(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        cache = BodyCache(tmp_path / "small", node.bodies, most=7 * len(BLOCK), oldest=1000)
        names = [f"mail/00/env_{n}.eml" for n in range(6)]
        for n, name in enumerate(names):
            node.bodies.put(name, [BLOCK if n % 2 else b"a small one counts as much"])
            cache.open(name).close()
            os.utime(cache._file(name), (NOW.timestamp(),) * 2 if n == 0 else None)
        assert cache.is_overfull
        node.bodies.delete(names[5:])
        await asyncio.to_thread(cache.clean)
        held = {path.name for path in cache.root.iterdir()}
        assert held <= {Path(cache._file(name)).name for name in names[1:5]}
        assert len(held) == 3
        assert not cache.is_overfull
        with pytest.raises(NotFound):
            cache.open(names[5])

    with_nodes(tmp_path, scenario)


def test_retention_deletes_the_bodies_of_old_faxes_and_leaves_those_of_others(tmp_path: Path) -> None:
    async def scenario(node: Node, other: Node) -> None:
        old, new = [await accepted(node, arrived(node, text), text, b"%PDF") for text in (b"old", b"new")]
        uploaded(other, old.documents[0])
        await go(node.store, old.id, "delivered", NOW)
        week = timedelta(days=7).total_seconds()
        keeper = Retention(week, week * 100, node.store, node.spool, lambda: NOW + timedelta(days=8))
        await factories.settle_all(node.store)
        assert await keeper.sweep(NOW + timedelta(days=8)) == Deleted(1, 0, 0, 0)
        with pytest.raises(NotFound):
            uploaded(node, old.documents[0])
        await asyncio.to_thread(other.spool.cache.clean)
        with pytest.raises(NotFound):
            uploaded(other, old.documents[0])
        assert uploaded(other, new.documents[1]) == b"%PDF"

    with_nodes(tmp_path, scenario, count=2)


def test_a_received_document_is_the_same_on_every_node(tmp_path: Path) -> None:
    async def scenario(one: Node, other: Node) -> None:
        path = one.spool.store_received("fax_1", iter([b"%PDF", BLOCK * 20]))
        with other.spool.open(path) as file:
            assert file.readall() == b"%PDF" + BLOCK * 20
        await other.spool.fetch(path)
        one.spool.delete(path)
        for read in (one.spool.open, one.spool.open_descriptor):
            with pytest.raises(NotFound):
                read(path)
        with pytest.raises(NotFound):
            await one.spool.fetch(path)

    with_nodes(tmp_path, scenario, count=2)


def test_a_store_that_nodes_share_has_its_cache_beside_an_older_spool(tmp_path: Path) -> None:
    """The start empties the cache: what SQLite has left in the state_dir stays."""

    async def scenario(node: Node) -> None:
        left = tmp_path / "spool/mail/00/env_1.eml"
        left.parent.mkdir(parents=True)
        left.write_bytes(b"of SQLite")
        assert isinstance(open_spool(tmp_path, node.bodies), SharedSpool)
        assert left.read_bytes() == b"of SQLite"

    with_nodes(tmp_path, scenario)


def test_many_mails_share_a_transaction(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        contents = [bytes([n]) * (PIECE - n) for n in range(9)]
        mails, queued = [arrived(node, content) for content in contents], []
        for mail in mails:
            await mail.store(b"")
            envelope = replace(an_envelope(NOW), path=mail.relpath, size=mail.size)
            queued.append(QueuedMail(envelope=envelope, faxes=(), repeat_key=None, body=mail.body))
        await node.store.run(lambda tx: tx.submissions.add_all(queued))
        for mail, content in zip(mails, contents, strict=True):
            with node.spool.open(mail.relpath) as file:
                assert file.readall() == content

    with_nodes(tmp_path, scenario)


def test_each_node_keeps_its_cache_and_one_at_a_time_sweeps(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        services = upkeep(node.spool, lambda: datetime.now(UTC))
        assert [(one.name, one.lease) for one in services] == [("cache", ""), ("orphans", "orphans")]
        for name in ("mail/00/env_1.eml", "mail/00/env_2.eml"):
            node.bodies.put(name, [b"x"])
            node.spool.open(name).close()
        ask(tmp_path, "UPDATE body SET stored_at = 0 WHERE name = 'mail/00/env_1.eml'")
        tasks = [asyncio.create_task(one.service.run()) for one in reversed(services)]
        while len(node.cached) > 1:
            await asyncio.sleep(0.01)
            if not node.bodies.existing(["mail/00/env_1.eml"]):
                await asyncio.to_thread(node.spool.cache.clean)
        assert node.bodies.existing(["mail/00/env_1.eml", "mail/00/env_2.eml"]) == {"mail/00/env_2.eml"}
        assert not any(task.done() for task in tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    with_nodes(tmp_path, scenario)


def test_a_stop_finishes_the_deletions_and_takes_no_more(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        mails = [draft(node, b"a draft") for _ in range(6)]
        for mail in mails:
            await mail.store_draft(b"")
            mail.abort()
        await node.spool.close()
        assert ask(tmp_path, "SELECT count(*) FROM body") == [(0,)]
        node.spool.delete_later(mails[0].relpath)

    with_nodes(tmp_path, scenario)


def test_a_file_that_is_being_written_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload may begin in a thread as soon as the record is there."""

    async def scenario(node: Node) -> None:
        seen = list[bytes]()
        write = stored_files.write_all

        def slowly(descriptor: int, data: bytes) -> None:
            write(descriptor, data[:1])
            monkeypatch.setattr(body_cache, "write_all", write)
            with node.spool.open("mail/00/env_1.eml") as file:
                seen.append(file.readall())
            write(descriptor, data[1:])

        node.bodies.put("mail/00/env_1.eml", [b"whole"])
        monkeypatch.setattr(body_cache, "write_all", slowly)
        node.spool.cache.add("mail/00/env_1.eml", [b"whole"])
        assert seen == [b"whole"]
        with node.spool.open("mail/00/env_1.eml") as file:
            assert file.readall() == b"whole"

    with_nodes(tmp_path, scenario)
