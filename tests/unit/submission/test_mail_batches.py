"""Batches of accepted mails: clients in turn, repeats and limits inside a batch, and one mail that cannot be stored."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from mailbridge.errors import Refused, StoreUnavailable
from mailbridge.model import QueuedMail
from mailbridge.store.interface import Transaction
from mailbridge.store.sqlite import SqliteStore
from mailbridge.submission import mail_batches
from mailbridge.submission.mail_batches import MailBatches, StoredMail
from tests.factories import a_fax, an_envelope

T = TypeVar("T")


def no_limit(tx: Transaction, user: str | None, more: int) -> None:
    """Let everybody send."""


def a_mail(key: str | None = None, faxes: int = 1, **of_faxes: Any) -> QueuedMail:
    envelope = an_envelope()
    return QueuedMail(
        envelope=envelope, faxes=tuple(a_fax(envelope_id=envelope.id, **of_faxes) for _ in range(faxes)), repeat_key=key
    )


class RecordingStore:
    """The store, with the mails of each of its batches in `batches`; `fails` raises for a batch that it chooses."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.batches: list[list[str]] = []
        self.fails: Callable[[list[str]], Exception | None] = lambda _: None

    async def run(self, work: Callable[[Any], T]) -> T:
        def recorded(tx: Any) -> T:
            added: list[str] = []

            class Submissions:
                fax_ids, same_again = tx.submissions.fax_ids, tx.submissions.same_again

                def add_all(self, mails: list[QueuedMail]) -> None:
                    tx.submissions.add_all(mails)
                    added.extend(mail.envelope.id for mail in mails)

            class Recorded:
                submissions = Submissions()

            result = work(Recorded())
            if error := self.fails(added):
                raise error
            self.batches.append(added)
            return result

        return await self._store.run(recorded)


def with_batches(
    path: Path,
    scenario: Callable[[MailBatches, RecordingStore], Coroutine[Any, Any, None]],
    check: Any = no_limit,
    same: float = 120,
) -> None:
    async def main() -> None:
        async with SqliteStore(path, lambda fax: {}, lambda _: []) as store:
            recording = RecordingStore(store)
            await scenario(MailBatches(recording, check, 120), recording)  # type: ignore[arg-type]  # only `run` is used

    asyncio.run(main())


async def together(batches: MailBatches, *mails: tuple[str, QueuedMail]) -> list[StoredMail | BaseException]:
    """Store mails of clients at once, after a first one that is under way."""
    first = asyncio.ensure_future(batches.store(a_mail(), "first"))
    await asyncio.sleep(0)
    found = await asyncio.gather(*(batches.store(mail, client) for client, mail in mails), return_exceptions=True)
    await first
    return found


def test_mails_that_wait_share_a_transaction(tmp_path: Path) -> None:
    async def scenario(batches: MailBatches, store: RecordingStore) -> None:
        mails = [a_mail() for _ in range(20)]
        stored = await together(batches, *(("a", mail) for mail in mails))
        assert [one.faxes for one in stored if isinstance(one, StoredMail)] == [mail.faxes for mail in mails]
        assert [len(batch) for batch in store.batches] == [1, 20]

    with_batches(tmp_path, scenario)


def test_attack_10_a_client_with_many_faxes_waits_behind_nobody_but_itself(tmp_path: Path) -> None:
    async def scenario(batches: MailBatches, store: RecordingStore) -> None:
        many, quiet = [a_mail(faxes=100) for _ in range(20)], a_mail()
        await together(batches, *(("bulk", mail) for mail in many), ("quiet", quiet))
        waited = next(number for number, batch in enumerate(store.batches) if quiet.envelope.id in batch)
        assert waited == 2  # behind one batch of the other kind
        assert store.batches[waited] == [quiet.envelope.id]
        assert max(len(batch) for batch in store.batches) == 1
        assert sum(len(batch) for batch in store.batches) == 22

    with_batches(tmp_path, scenario)


def test_attack_10_after_a_mail_to_many_the_store_is_free_for_mails_to_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail_batches, "_REST", 1e9)

    async def scenario(batches: MailBatches, store: RecordingStore) -> None:
        bulk = [asyncio.ensure_future(batches.store(a_mail(faxes=100), "bulk")) for _ in range(3)]
        await bulk[0]
        for _ in range(3):
            await batches.store(a_mail(), "quiet")
        assert [len(batch) for batch in store.batches] == [1] * 4
        assert [one.done() for one in bulk] == [True, False, False]
        for one in bulk[1:]:
            one.cancel()
        assert batches._task is not None
        batches._task.cancel()

    with_batches(tmp_path, scenario)


def test_the_same_mail_twice_in_a_batch_is_stored_once(tmp_path: Path) -> None:
    async def scenario(batches: MailBatches, store: RecordingStore) -> None:
        first, again = a_mail("key"), a_mail("key")
        stored = await together(batches, ("a", first), ("b", again))
        assert stored == [StoredMail(faxes=first.faxes), StoredMail(repeated=tuple(first.fax_ids))]
        later = await together(batches, ("a", a_mail("key")))
        assert later == [StoredMail(repeated=tuple(first.fax_ids))]

    with_batches(tmp_path, scenario)


def test_the_same_fax_twice_in_a_batch_names_the_first(tmp_path: Path) -> None:
    async def scenario(batches: MailBatches, store: RecordingStore) -> None:
        mails = [a_mail(same_key="a"), a_mail(same_key="a"), a_mail(same_key="b"), a_mail()]
        stored = await together(batches, *(("a", mail) for mail in mails))
        repeats = [one.faxes[0].repeat_of for one in stored if isinstance(one, StoredMail)]
        assert repeats == [None, mails[0].fax_ids[0], None, None]
        (later,) = await together(batches, ("a", a_mail(same_key="a")))
        assert isinstance(later, StoredMail)
        assert later.faxes[0].repeat_of in (mails[0].fax_ids[0], mails[1].fax_ids[0])

    with_batches(tmp_path, scenario)


def test_a_daily_limit_counts_the_mails_of_its_own_batch(tmp_path: Path) -> None:
    asked: Counter[str] = Counter()

    def three(tx: Transaction, user: str | None, more: int) -> None:
        asked[user or ""] += 1
        if more > 3:
            raise Refused("452 4.7.1 enough")

    async def scenario(batches: MailBatches, store: RecordingStore) -> None:
        stored = await together(batches, ("a", a_mail(faxes=2)), ("a", a_mail(faxes=2)), ("a", a_mail()))
        assert [type(one) for one in stored] == [StoredMail, Refused, StoredMail]

    with_batches(tmp_path, scenario, three)
    assert asked[""] == 4


def test_one_mail_that_cannot_be_stored_harms_no_other(tmp_path: Path) -> None:
    async def scenario(batches: MailBatches, store: RecordingStore) -> None:
        mails = [a_mail() for _ in range(3)]
        store.fails = lambda added: ValueError("a fault") if mails[1].envelope.id in added else None
        stored = await together(batches, *(("a", mail) for mail in mails))
        assert [type(one) for one in stored] == [StoredMail, ValueError, StoredMail]

    with_batches(tmp_path, scenario)


def test_a_store_that_fails_fails_every_mail_of_the_batch_once(tmp_path: Path) -> None:
    async def scenario(batches: MailBatches, store: RecordingStore) -> None:
        tries: list[int] = []

        def fail(added: list[str]) -> Exception | None:
            tries.append(len(added))
            return StoreUnavailable("the disk is full") if len(added) > 1 else None

        store.fails = fail
        stored = await together(batches, ("a", a_mail()), ("b", a_mail()))
        assert [str(one) for one in stored] == ["the disk is full"] * 2
        assert tries == [1, 2]
        assert isinstance(await batches.store(a_mail(), "a"), StoredMail)

    with_batches(tmp_path, scenario)


def test_a_caller_that_gave_up_does_not_stop_the_batch(tmp_path: Path) -> None:
    async def scenario(batches: MailBatches, store: RecordingStore) -> None:
        gone = asyncio.ensure_future(batches.store(a_mail(), "a"))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert isinstance(await batches.store(a_mail(), "a"), StoredMail)

    with_batches(tmp_path, scenario)
