"""Which mails a fetch asks for, with a server that fails for one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from mailbridge.errors import MailboxError
from mailbridge.model import Cursor
from mailbridge.report.imap_connection import Connection
from mailbridge.report.imap_responses import BATCH, FIRST_BYTES, FetchedMail
from mailbridge.report.mail_fetcher import TRIES, Batch, MailFetcher

ALL = list(range(1, 201))


class FakeConnection:
    """Delivers every mail but `bad`, for which it refuses a fetch, or is lost by it. `asked` are the UIDs of each fetch."""

    def __init__(self, bad: int = 0, losing: bool = False) -> None:
        self.bad, self.losing, self.lost = bad, losing, False
        self.asked: list[tuple[int, int]] = []
        self.expunged: set[int] = set()

    async def fetch(self, uids: Sequence[int], *, first: int | None) -> list[FetchedMail]:
        self.asked.append((uids[0], uids[-1]))
        if self.bad in uids:
            self.lost = self.losing
            raise MailboxError("the server refuses FETCH")
        length = FIRST_BYTES + 1 if first is None else 10
        return [FetchedMail(uid, length, bytes(length)) for uid in uids if uid not in self.expunged]

    async def search(self, criteria: str) -> list[int]:
        return [5, 6, 7] if criteria == "UID 7:*" else []


def fetch(fetcher: MailFetcher, connection: FakeConnection, uids: Sequence[int]) -> Batch:
    return asyncio.run(fetcher.fetch(cast(Connection, connection), uids))


def test_batches_shrink_to_the_mail_at_fault_and_grow_again() -> None:
    fetcher, connection = MailFetcher(1000), FakeConnection(bad=12)
    batches, rest = [], ALL
    while rest:
        try:
            batch = fetch(fetcher, connection, rest)
        except MailboxError:
            continue
        batches.append((batch.uids[0], batch.uids[-1], batch.undeliverable))
        rest = rest[len(batch.uids) :]
    # 100, 10, and from 11 on 20, 2, 1; the mail at fault is asked for alone, and passed over after TRIES failures.
    assert connection.asked[:5] == [(1, 100), (1, 10), (11, 30), (11, 12), (11, 11)]
    assert connection.asked.count((12, 12)) == TRIES
    assert [batch for batch in batches if batch[2]] == [(12, 12, True)]
    assert batches[3:] == [(13, 13, False), (14, 15, False), (16, 19, False), (20, 27, False), *batches[7:]]
    assert [uid for begin, end, _ in batches for uid in range(begin, end + 1)] == ALL


def test_a_lost_connection_ends_the_fetch() -> None:
    fetcher, connection = MailFetcher(1000), FakeConnection(bad=50, losing=True)
    with pytest.raises(MailboxError):
        fetch(fetcher, connection, ALL)
    assert connection.asked == [(1, 100)]
    assert fetch(fetcher, connection, ALL).uids == ALL[:10]


def test_new_uids_do_not_inherit_the_failures_of_the_old_ones() -> None:
    fetcher, connection = MailFetcher(1000), FakeConnection(bad=1)
    for _ in range(TRIES):
        with pytest.raises(MailboxError):
            fetch(fetcher, connection, [1])
    assert fetch(fetcher, connection, [1]).undeliverable
    fetcher.reset_uids()
    connection.bad = 0
    assert not fetch(fetcher, connection, [1]).undeliverable


def test_announced_mails_are_fetched_without_a_search_only_in_full_batches() -> None:
    async def scenario() -> None:
        fetcher, connection = MailFetcher(1000), FakeConnection(bad=50)
        cursor, as_connection = Cursor(uidvalidity=1, last_uid=6), cast(Connection, connection)
        assert await fetcher.fetch_announced(as_connection, cursor) is None  # refused: search first
        assert await fetcher.fetch_announced(as_connection, cursor) is None
        assert connection.asked == [(7, 6 + BATCH)]
        assert await fetcher.search(as_connection, cursor) == [7]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("mail", "whole", "fault"),
    [
        (FetchedMail(1, 10, bytes(10)), 10, None),
        (FetchedMail(1, 200_000, bytes(FIRST_BYTES)), FIRST_BYTES + 1, None),
        (FetchedMail(1, 300_000, bytes(FIRST_BYTES)), FIRST_BYTES, "the mail is too large (300000 bytes)"),
    ],
)
def test_a_longer_mail_is_completed_up_to_the_limit(mail: FetchedMail, whole: int, fault: str | None) -> None:
    found = asyncio.run(MailFetcher(250_000).complete(cast(Any, FakeConnection()), mail))
    assert found is not None
    assert (len(found.content), found.fault) == (whole, fault)


def test_a_mail_that_never_arrives_whole_has_a_fault_after_some_tries() -> None:
    fetcher, connection = MailFetcher(250_000), cast(Any, FakeConnection(bad=1))
    mail = FetchedMail(1, 200_000, bytes(FIRST_BYTES))
    for _ in range(TRIES):
        with pytest.raises(MailboxError):
            asyncio.run(fetcher.complete(connection, mail))
    found = asyncio.run(fetcher.complete(connection, mail))
    assert found is not None
    assert found.fault == "the mail server cannot return the whole mail"
    # Its beginning can still be fetched.
    connection.bad = 0
    assert not fetch(fetcher, connection, [1]).undeliverable


def test_a_mail_that_was_expunged_meanwhile_is_none() -> None:
    connection = FakeConnection()
    connection.expunged = {1}
    mail = FetchedMail(1, 200_000, bytes(FIRST_BYTES))
    assert asyncio.run(MailFetcher(250_000).complete(cast(Any, connection), mail)) is None
