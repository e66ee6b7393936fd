"""P18: a document link made by one node opens at every other, also after a restart and an update."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mailbridge.store.sql_store import SqlStore
from mailbridge.web.link_key import find_link_key, load_link_key
from mailbridge.web.links import Links
from tests.factories import NOW
from tests.store.factories import a_store, ask

pytestmark = pytest.mark.usefixtures("database")
DOCUMENT = {"path": "received/07/fax_1", "filename": "fax.pdf", "content_type": "application/pdf"}


def keys(path: Path, *state_dirs: Path) -> list[bytes]:
    """Load the key on one node after the other, each with its state_dir."""

    async def one(state_dir: Path) -> bytes:
        state_dir.mkdir(exist_ok=True)
        async with a_store(path) as store:
            found = await load_link_key(store, state_dir)
            assert await find_link_key(store, state_dir) == found
            return found

    return [asyncio.run(one(state_dir)) for state_dir in state_dirs]


def test_p18_a_link_made_by_one_node_opens_at_another(tmp_path: Path) -> None:
    one, other = keys(tmp_path / "db", tmp_path / "a", tmp_path / "b")
    url, _ = Links(one, "https://fax.example").link(DOCUMENT, NOW)
    opened = Links(other, "https://fax.example").open(url.rpartition("/")[2])
    assert opened is not None
    assert opened.path == DOCUMENT["path"]


def test_p18_the_key_in_the_file_of_an_earlier_version_moves_into_the_store_once(tmp_path: Path) -> None:
    for name, letter in (("a", b"a"), ("b", b"b")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "link.key").write_bytes(letter * 32)
    assert keys(tmp_path / "db", tmp_path / "a", tmp_path / "a", tmp_path / "b") == [b"a" * 32] * 3
    # The file of a node that joined later has another key, and is not deleted: somebody may need it.
    assert [(tmp_path / name / "link.key").exists() for name in "ab"] == [False, True]


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33])
def test_attack_15_a_key_of_another_size_is_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "link.key").write_bytes(content)
    with capture_logs() as lines:
        [key, again] = keys(tmp_path / "db", tmp_path, tmp_path)
    assert (len(key), again) == (32, key)
    replaced = [(line["event"][:20], line["log_level"], line["size"]) for line in lines if "size" in line]
    assert replaced == [("link key was damaged", "error", len(content))]


def test_two_nodes_that_start_at_once_have_one_key(tmp_path: Path) -> None:
    async def main(store: SqlStore) -> None:
        found = await asyncio.gather(*(load_link_key(store, tmp_path / name) for name in "abcd"))
        assert len(set(found)) == 1

    async def scenario() -> None:
        async with a_store(tmp_path / "db") as store:
            await main(store)

    asyncio.run(scenario())
    assert ask(tmp_path / "db", "SELECT count(*) FROM secret") == [(1,)]


def test_a_command_makes_no_key(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with a_store(tmp_path / "db") as store:
            assert len(await find_link_key(store, tmp_path)) == 32

    asyncio.run(scenario())
    assert ask(tmp_path / "db", "SELECT count(*) FROM secret") == [(0,)]
