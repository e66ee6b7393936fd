"""Which mails are marked, over connections that refuse or are lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from mailbridge.errors import MailboxError
from mailbridge.report.imap_responses import BATCH
from mailbridge.report.mail_marker import MailMarker


class FakeConnection:
    """Notes what is marked; refuses everything with `refuses`, and is lost by it with `loses`."""

    def __init__(self, refuses: bool = False, loses: bool = False) -> None:
        self.refuses, self.loses, self.lost = refuses, loses, False
        self.marked: list[tuple[str, list[int]]] = []

    async def mark_seen(self, uids: Sequence[int]) -> None:
        await self.move(uids, "")

    async def move(self, uids: Sequence[int], folder: str) -> None:
        if self.refuses or self.loses:
            self.lost = self.loses
            raise MailboxError("the server refuses it")
        self.marked.append((folder, list(uids)))


def mark(marker: MailMarker, connection: FakeConnection) -> list[tuple[str, list[int]]]:
    asyncio.run(marker.mark(cast(Any, connection)))
    return connection.marked


@pytest.mark.parametrize(
    ("after", "marked"),
    [("keep", []), ("seen", [("", [1, 2])]), ("move:Done", [("Done", [1, 2])]), ("move:a:b", [("a:b", [1, 2])])],
)
def test_after_says_what_happens_to_a_mail(after: str, marked: list[tuple[str, list[int]]]) -> None:
    marker = MailMarker("office", after)
    marker.add([1, 2])
    assert mark(marker, FakeConnection()) == marked
    assert mark(marker, FakeConnection()) == []


def test_many_mails_are_marked_in_batches() -> None:
    marker = MailMarker("office", "seen")
    marker.add(range(1, BATCH + 2))
    assert [len(uids) for _, uids in mark(marker, FakeConnection())] == [BATCH, 1]


def test_mails_of_a_lost_connection_wait_for_the_next_one() -> None:
    marker = MailMarker("office", "seen")
    marker.add([1])
    assert mark(marker, FakeConnection(loses=True)) == []
    marker.add([2])
    assert mark(marker, FakeConnection()) == [("", [1, 2])]


def test_mails_that_the_server_refuses_to_mark_stay_as_they_are() -> None:
    marker = MailMarker("office", "move:nowhere")
    marker.add([1])
    assert mark(marker, FakeConnection(refuses=True)) == []
    assert mark(marker, FakeConnection()) == []


def test_new_uids_are_not_marked_in_the_place_of_the_old_ones() -> None:
    marker = MailMarker("office", "seen")
    marker.add([1])
    marker.reset_uids()
    assert mark(marker, FakeConnection()) == []
