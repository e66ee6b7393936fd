"""P17: a draft that was composed at one node is shown, sent once and discarded at another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest

from mailbridge.store.bodies import Bodies
from mailbridge.store.postgres import PostgresStore
from mailbridge.store.shared_spool import SharedSpool
from mailbridge.submission import drafts as drafts_module
from mailbridge.submission import shared_drafts
from mailbridge.submission.letter_reader import LetterReader
from mailbridge.submission.shared_drafts import SharedDrafts, StoredDraft
from tests.integration.test_drafts import TEXT, Office
from tests.postgres_server import PostgresServer
from tests.wait_helpers import PATIENCE

pytestmark = pytest.mark.usefixtures("preloaded_fork_server")
# Its mail does not fit a row of the database.
_MULTIPART = b"\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
_PREAMBLE = b"\r\n".join([b"x" * 900] * 350)
LONG = TEXT.replace(b"\r\n\r\n", _MULTIPART + _PREAMBLE + b"\r\n--b\r\n\r\n") + b"--b--\r\n"
Scenario = Callable[[Office, Office], Awaitable[None]]


@pytest.fixture
def server(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    yield postgres_server
    postgres_server.drop_all()


def at_two_nodes(path: Path, server: PostgresServer, scenario: Scenario) -> None:
    async def main() -> None:
        async with asyncio.timeout(PATIENCE), AsyncExitStack() as stack:
            offices = []
            for name in "ab":
                opened = PostgresStore(server.client_url(server.database(str(path))), lambda *_: {}, lambda *_: [], unsafe=True)
                store = await stack.enter_async_context(opened)
                spool = SharedSpool(path / name, cast(Bodies, store.bodies))
                reader = LetterReader(spool, "auto", workers=1)
                await reader.start()
                stack.push_async_callback(reader.stop)
                offices.append(Office(path / f"state_{name}", store, reader, spool, SharedDrafts))
            await scenario(offices[0], offices[1])

    asyncio.run(main())


@pytest.mark.parametrize("content", [TEXT, LONG], ids=["short", "long"])
def test_p17_a_draft_of_one_node_is_shown_and_sent_at_another_once(
    tmp_path: Path, server: PostgresServer, content: bytes
) -> None:
    async def scenario(one: Office, other: Office) -> None:
        draft = await one.draft("03-9876543", "board", content=content)
        shown = await other.drafts.find(draft.key, "dana")
        assert isinstance(shown, StoredDraft)
        names = ("key", "user", "subject", "account", "documents", "numbers", "pages", "passed_over", "send_at", "fax_id")
        assert [getattr(shown, name) for name in names] == [getattr(draft, name) for name in names]
        with other.spool.open_document(shown.documents[0]) as page:
            assert page.read().startswith(b"%PDF")
        assert await other.drafts.find(draft.key, "avi") is None
        # However often it is sent, and wherever, there is one fax for each recipient.
        sending = (office.drafts.send(draft.key, "dana") for office in (one, other, one, other, other))
        sent = set(await asyncio.gather(*sending))
        sent |= {await office.drafts.send(draft.key, "dana") for office in (one, other)}
        assert len(sent) == 1
        faxes = await one.faxes()
        assert len(faxes) == 2
        assert sent < set(faxes)
        for office in (one, other):
            found = await office.drafts.find(draft.key, "dana")
            assert found is not None
            assert {found.fax_id} == sent
        fax = await other.store.run(lambda tx: tx.faxes.get(sent.copy().pop() or ""))
        with one.spool.open_document(fax.documents[0]) as page:
            assert page.read().startswith(b"%PDF")
        assert (fax.user, fax.client, fax.email.sender) == ("dana", "192.0.2.9", "dana@example.co.il")

    at_two_nodes(tmp_path, server, scenario)


def test_p17_a_draft_outlives_its_node(tmp_path: Path, server: PostgresServer) -> None:
    async def scenario(one: Office, other: Office) -> None:
        draft = await one.draft(content=LONG)
        one.drafts.close()
        fax_id = await other.drafts.send(draft.key, "dana")
        assert await other.faxes() == [fax_id]

    at_two_nodes(tmp_path, server, scenario)


def test_p17_a_draft_that_one_node_discards_is_gone_at_the_other(tmp_path: Path, server: PostgresServer) -> None:
    async def scenario(one: Office, other: Office) -> None:
        for here, there in ((one, other), (other, one)):
            draft = await here.draft()
            await there.drafts.drop(draft.key, "avi")
            assert await here.drafts.find(draft.key, "dana") is draft
            await there.drafts.drop(draft.key, "dana")
            for office in (here, there):
                assert await office.drafts.find(draft.key, "dana") is None
                assert await office.drafts.send(draft.key, "dana") is None
        assert await one.faxes() == []

    at_two_nodes(tmp_path, server, scenario)


def test_p17_a_draft_that_made_room_or_is_old_is_gone_at_the_other_node(
    tmp_path: Path, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(one: Office, other: Office) -> None:
        keys = [(await one.draft()).key for _ in range(drafts_module._PER_USER + 1)]
        assert [await other.drafts.find(key, "dana") is not None for key in keys] == [False] + [True] * drafts_module._PER_USER
        fax_id = await one.drafts.send(keys[1], "dana")
        monkeypatch.setattr(shared_drafts, "KEPT", 0.0)
        assert await other.drafts.find(keys[2], "dana") is None
        assert await other.drafts.send(keys[1], "dana") == fax_id
        monkeypatch.setattr(shared_drafts, "_REMEMBERED", timedelta())
        await one.draft()
        assert await other.drafts.find(keys[1], "dana") is None

    at_two_nodes(tmp_path, server, scenario)


def test_p17_a_draft_whose_mail_is_gone_is_not_sent(tmp_path: Path, server: PostgresServer) -> None:
    async def scenario(one: Office, other: Office) -> None:
        draft = await one.draft()
        await asyncio.to_thread(one.spool.delete, draft.file.relpath)
        assert await other.drafts.send(draft.key, "dana") is None
        assert await other.faxes() == []

    at_two_nodes(tmp_path, server, scenario)
