"""Bodies in PostgreSQL: byte for byte, a piece at a time, all or nothing."""

from __future__ import annotations

import asyncio
import hashlib
import io
import resource
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailbridge.errors import NotFound, StoreUnavailable
from mailbridge.store.body_rows import PIECE
from mailbridge.store.postgres import PostgresStore
from mailbridge.store.postgres_bodies import PostgresBodies
from tests.postgres_server import PostgresServer
from tests.store.factories import a_store, ask

pytestmark = pytest.mark.usefixtures("only_postgres")

NAME = "mail/3f/env_1.eml"
CONTENT = bytes(range(256)) * (PIECE // 100)  # not a multiple of a piece
PAST, FUTURE = datetime(2001, 1, 1, tzinfo=UTC), datetime.now(UTC) + timedelta(days=365)


def with_bodies(path: Path, scenario: Callable[[PostgresBodies], None]) -> None:
    async def main() -> None:
        store = a_store(path)
        assert isinstance(store, PostgresStore)
        async with store:
            assert isinstance(store.bodies, PostgresBodies)
            await asyncio.to_thread(scenario, store.bodies)

    asyncio.run(main())


@pytest.mark.parametrize("sizes", [(), (1,), (PIECE,), (PIECE - 1, 1, 1), (7,) * 1000, (3 * PIECE + 5,)])
def test_a_body_is_read_as_it_was_stored_however_it_came(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    def scenario(bodies: PostgresBodies) -> None:
        source = io.BytesIO(CONTENT * 2)
        pieces = [source.read(size) for size in sizes]
        assert bodies.put(NAME, pieces) == bodies.size(NAME) == sum(sizes)
        assert bodies.open(NAME).readall() == b"".join(pieces)

    with_bodies(tmp_path, scenario)


def test_a_range_is_read_and_seeked_like_a_file(tmp_path: Path) -> None:
    def scenario(bodies: PostgresBodies) -> None:
        bodies.put(NAME, [CONTENT])
        for start, length in ((0, 10), (PIECE - 5, 10), (PIECE, None), (len(CONTENT) - 1, 99), (len(CONTENT) + 9, None), (3, 0)):
            expected = io.BytesIO(CONTENT[start:] if length is None else CONTENT[start : start + length])
            with io.BufferedReader(bodies.open(NAME, start, length)) as found:
                assert found.read() == expected.read()
                for offset, whence in ((3, io.SEEK_SET), (0, io.SEEK_END), (0, io.SEEK_SET)):
                    assert found.seek(offset, whence) == expected.seek(offset, whence)
                    assert found.read(4) == expected.read(4)

    with_bodies(tmp_path, scenario)


def test_p16_a_body_that_was_not_written_to_its_end_is_not_there_at_all(tmp_path: Path) -> None:
    def broken_off() -> Iterator[bytes]:
        yield bytes(3 * PIECE)
        raise ConnectionResetError

    def scenario(bodies: PostgresBodies) -> None:
        with pytest.raises(ConnectionResetError):
            bodies.put(NAME, broken_off())
        with pytest.raises(NotFound):
            bodies.size(NAME)
        assert ask(tmp_path, "SELECT count(*) FROM body_piece") == [(0,)]
        bodies.put(NAME, [b"whole"])
        with pytest.raises(ConnectionResetError):
            bodies.put(NAME, broken_off())
        assert bodies.open(NAME).readall() == b"whole"

    with_bodies(tmp_path, scenario)


def test_unnamed_bodies_are_listed_and_deleted_ones_are_gone(tmp_path: Path) -> None:
    def scenario(bodies: PostgresBodies) -> None:
        names = [f"received/00/fax_{n}" for n in range(5)]
        for name in names:
            bodies.put(name, [b"x"])
        assert bodies.unnamed(PAST, PAST) == bodies.unnamed(FUTURE, FUTURE) == ([], names[-1])
        assert bodies.unnamed(PAST, FUTURE, limit=3) == (names[:3], names[2])
        assert bodies.unnamed(PAST, FUTURE, names[2], 3) == (names[3:], names[4])
        assert bodies.unnamed(PAST, FUTURE, names[4]) == ([], None)
        assert bodies.existing([*names, "never/stored"]) == set(names)
        reader = bodies.open(names[0])
        assert bodies.delete(names, before=PAST) == []
        assert sorted(bodies.delete([*names[:4], "never/stored"])) == names[:4]
        assert bodies.delete([]) == []
        assert bodies.unnamed(PAST, FUTURE).names == names[4:]
        assert bodies.existing(names) == {names[4]}
        with pytest.raises(NotFound):
            bodies.open(names[0])
        with pytest.raises(NotFound):
            reader.readall()

    with_bodies(tmp_path, scenario)


def test_p16_a_body_of_40_mb_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    """After a small body, which loads what is needed, a large one takes hardly more at its peak."""
    block, blocks = bytes(range(256)) * 256, 640

    def peak() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10

    def scenario(bodies: PostgresBodies) -> None:
        bodies.put(NAME, [block] * 8)
        bodies.open(NAME).readall()
        before, digest, expected = peak(), hashlib.sha256(), hashlib.sha256()
        assert bodies.put(NAME, (block for _ in range(blocks))) == blocks * len(block)
        with bodies.open(NAME) as reader:
            while piece := reader.read(1 << 16):
                digest.update(piece)
        for _ in range(blocks):
            expected.update(block)
        assert digest.digest() == expected.digest()
        assert peak() - before < 8 << 20

    with_bodies(tmp_path, scenario)


def test_without_its_server_a_body_is_refused_as_unavailable(tmp_path: Path, only_postgres: PostgresServer) -> None:
    def scenario(bodies: PostgresBodies) -> None:
        bodies.put(NAME, [b"x"])
        only_postgres.stop()
        try:
            for work in (lambda: bodies.put(NAME, [b"y"]), lambda: bodies.size(NAME), lambda: bodies.existing([NAME])):
                with pytest.raises(StoreUnavailable):
                    work()
        finally:
            only_postgres.start()
        assert bodies.open(NAME).readall() == b"x"

    with_bodies(tmp_path, scenario)
