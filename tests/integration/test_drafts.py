"""Drafts: checked as by SMTP, shown, and sent once, whatever a browser sends again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mailbridge.config import Config
from mailbridge.errors import Refused, StoreUnavailable
from mailbridge.runtime import Runtime
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.spool import Spool
from mailbridge.store.sql_store import SqlStore
from mailbridge.store.sqlite import SqliteStore
from mailbridge.submission import drafts as drafts_module
from mailbridge.submission.drafts import Draft, Drafts
from mailbridge.submission.letter_reader import LetterReader
from mailbridge.submission.page_pictures import PagePictures
from mailbridge.submission.server import SmtpService
from tests.wait_helpers import PATIENCE, until

pytestmark = pytest.mark.usefixtures("preloaded_fork_server")

TEXT = b"From: dana@example.co.il\r\nSubject: contract\r\nMessage-ID: <1@console>\r\nX-Mailbridge-Page: always\r\n\r\nhello\r\n"
NOTHING = b"From: dana@example.co.il\r\nSubject: contract\r\n\r\n"


class Office:
    """Everything that drafts need, with a real reader of letters."""

    def __init__(
        self,
        state: Path,
        store: SqlStore,
        reader: LetterReader,
        spool: Spool | None = None,
        kind: type[Drafts] = Drafts,
        **user: Any,
    ) -> None:
        self.store, self.spool = store, spool or LocalSpool(state / "spool")
        self.runtime = Runtime(store, self.spool, lambda: datetime.now(UTC), random.random)
        account = {"email": "a@example.co.il", "password": "x"}
        self.config = Config.model_validate(
            {
                "account": {"office": account},
                "state_dir": state,
                "contacts": {"clalit": "03-9876543", "board": ["clalit", "meir"], "meir": "09-7654321"},
                "user": {name: {"networks": [f"192.0.2.{n}"], **user} for n, name in enumerate(("dana", "avi"), 1)},
            }
        )
        self.gateway = SmtpService(self.config, self.runtime, reader)
        self.drafts = kind(self.gateway, reader, self.runtime, "fax.local")

    async def draft(self, *to: str, content: bytes = TEXT, user: str = "dana") -> Draft:
        transaction = self.drafts.begin(user, "192.0.2.9", "dana@example.co.il")
        for one in to or ("03-9876543",):
            await self.drafts.add_recipient(transaction, one)
        return await self.drafts.create(transaction, lambda write: write(content))

    async def faxes(self) -> list[str]:
        return [fax.id for fax in await self.store.run(lambda tx: tx.faxes.newest(None))]

    def files(self) -> list[str]:
        root = self.config.state_dir / "spool/mail"
        return sorted(path.suffix for path in root.rglob("*") if path.is_file())


def in_office(state: Path, scenario: Callable[[Office], Awaitable[None]], **user: Any) -> None:
    async def run() -> None:
        async with asyncio.timeout(PATIENCE), SqliteStore(state, lambda *_: {}, lambda *_: []) as store:
            LocalSpool(state / "spool")
            reader = LetterReader(LocalSpool(state / "spool"), "auto", workers=1)
            await reader.start()
            try:
                await scenario(Office(state, store, reader, **user))
            finally:
                await reader.stop()

    asyncio.run(run())


def test_a_draft_is_shown_before_it_is_sent_and_sent_once(tmp_path: Path) -> None:
    async def scenario(office: Office) -> None:
        draft = await office.draft("03-9876543", "board")
        assert draft.numbers == ["+97239876543", "+97297654321"]
        assert (draft.subject, draft.account, draft.pages) == ("contract", "office", 1)
        assert (await PagePictures(office.gateway._read_letter.picture)(draft.documents[0], 1, 300, "dana")).pages == 1  # type: ignore[attr-defined]
        assert await office.faxes() == []
        sent = await asyncio.gather(*(office.drafts.send(draft.key, "dana") for _ in range(5)))
        again = await office.drafts.send(draft.key, "dana")
        assert {*sent, again} == {draft.fax_id}
        faxes = await office.faxes()
        assert len(faxes) == 2
        assert draft.fax_id in faxes
        fax = await office.store.run(lambda tx: tx.faxes.get(draft.fax_id or ""))
        assert (fax.user, fax.client, fax.email.sender) == ("dana", "192.0.2.9", "dana@example.co.il")
        with office.spool.open_document(fax.documents[0]) as document:
            assert document.read().startswith(b"%PDF")
        assert office.files() == [".derived", ".eml"]
        office.drafts.discard(draft.key, "dana")
        assert office.files() == [".derived", ".eml"]

    in_office(tmp_path, scenario)


def test_a_draft_belongs_to_its_user(tmp_path: Path) -> None:
    async def scenario(office: Office) -> None:
        draft = await office.draft()
        assert office.drafts.get(draft.key, "avi") is None
        assert await office.drafts.send(draft.key, "avi") is None
        office.drafts.discard(draft.key, "avi")
        assert office.drafts.get(draft.key, "dana") is draft
        assert await office.drafts.send("other", "dana") is None
        assert await office.faxes() == []

    in_office(tmp_path, scenario)


def test_a_discarded_draft_leaves_nothing_and_is_never_sent(tmp_path: Path) -> None:
    async def scenario(office: Office) -> None:
        draft, other = await office.draft(), await office.draft()
        office.drafts.discard(draft.key, "dana")
        assert office.files() == [".derived", ".eml"]
        assert await office.drafts.send(draft.key, "dana") is None
        office.drafts.close()
        assert office.files() == []
        assert office.drafts.get(other.key, "dana") is None

    in_office(tmp_path, scenario)


def test_old_drafts_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(office: Office) -> None:
        await office.draft()
        await until(lambda: office.files() == [])

    monkeypatch.setattr(drafts_module, "KEPT", 0.01)
    in_office(tmp_path, scenario)


def test_a_user_has_few_drafts_and_all_users_together_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(office: Office) -> None:
        keys = [(await office.draft()).key for _ in range(7)]
        assert [office.drafts.get(key, "dana") is not None for key in keys] == [False] * 2 + [True] * 5
        monkeypatch.setattr(drafts_module, "_MOST", 5)
        newest = await office.draft(user="avi")
        assert [office.drafts.get(key, "dana") is not None for key in keys] == [False] * 3 + [True] * 4
        assert office.drafts.get(newest.key, "avi") is newest

    in_office(tmp_path, scenario)


@pytest.mark.parametrize(
    ("to", "content", "reply"),
    [
        ("12", TEXT, "550 5.1.3"),
        ("nobody", TEXT, "550 5.1.1"),
        ("03-9876543@example.com", TEXT, "550 5.1.2"),
        ("1-900-555-555", TEXT, "550 5."),
        ("+12125550100", TEXT, "550 5.7.1"),
        ("03-9876543", NOTHING, "554 5.6."),
    ],
)
def test_what_smtp_refuses_is_refused(tmp_path: Path, to: str, content: bytes, reply: str) -> None:
    async def scenario(office: Office) -> None:
        with pytest.raises(Refused) as refused:
            await office.draft(to, content=content)
        assert refused.value.reply.startswith(reply)
        assert office.files() == []

    in_office(tmp_path, scenario)


def test_the_rules_of_the_user_count(tmp_path: Path) -> None:
    async def scenario(office: Office) -> None:
        with pytest.raises(Refused, match=r"553 5\.7\.1"):
            office.drafts.begin("dana", "192.0.2.9", "other@example.co.il")
        draft, second = await office.draft(), await office.draft()
        await office.drafts.send(draft.key, "dana")
        with pytest.raises(Refused, match=r"452 4\.7\.1"):
            await office.draft()
        # One that was made before the limit was reached is refused when it is sent, and gone.
        with pytest.raises(Refused, match=r"452 4\.7\.1"):
            await office.drafts.send(second.key, "dana")
        assert await office.drafts.send(second.key, "dana") is None
        assert len(await office.faxes()) == 1

    in_office(tmp_path, scenario, senders=["dana@example.co.il"], daily_limit=1)


def test_a_store_that_fails_sends_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(office: Office) -> None:
        draft = await office.draft()

        async def fail(*_: Any) -> None:
            raise StoreUnavailable("full")

        with monkeypatch.context() as patched:
            patched.setattr(office.store, "run", fail)
            with pytest.raises(StoreUnavailable):
                await office.drafts.send(draft.key, "dana")
        assert await office.drafts.send(draft.key, "dana") is None
        assert office.files() == []
        assert await office.faxes() == []

    in_office(tmp_path, scenario)


def test_a_mail_that_cannot_be_written_leaves_no_file(tmp_path: Path) -> None:
    async def scenario(office: Office) -> None:
        def fail(write: Callable[[bytes], None]) -> None:
            write(b"From: ")
            raise OSError("the browser went away")

        transaction = office.drafts.begin("dana", "192.0.2.9", "dana@example.co.il")
        with pytest.raises(OSError, match="went away"):
            await office.drafts.create(transaction, fail)
        assert office.files() == []

    in_office(tmp_path, scenario)
