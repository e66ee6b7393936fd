"""IMAP responses: cut from bytes that arrive in any pieces, within limits, and read into values."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbridge.errors import MailboxError
from mailbridge.report import imap_responses
from mailbridge.report.imap_responses import (
    FIRST_BYTES,
    FetchedMail,
    Folder,
    ResponseReader,
    read_fetch,
    read_folder,
    read_uids,
    uid_set,
)

MAX_LITERAL, MAX_BYTES = 1000, 10_000


def responses(pieces: Iterable[bytes], reader: ResponseReader | None = None) -> list[list[bytes]]:
    """Feed a reader with pieces, and return every response that it cuts from them."""
    reader = reader or ResponseReader(MAX_LITERAL, MAX_BYTES)
    found = []
    for piece in pieces:
        reader.feed(piece)
        while (response := reader.next_response()) is not None:
            found.append(response)
    return found


texts = st.binary(max_size=30).map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b"").replace(b"}", b""))
literals = st.binary(max_size=60)


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[list[bytes]], bytes]:
    """Some responses, and the bytes in which a server sends them."""
    expected, sent = [], b""
    for _ in range(draw(st.integers(1, 4))):
        response = []
        for literal in draw(st.lists(literals, max_size=3)):
            text = draw(texts) + b"{%d}" % len(literal)
            response += [text, literal]
            sent += text + b"\r\n" + literal
        last = draw(texts)
        expected.append([*response, last])
        sent += last + b"\r\n"
    return expected, sent


@given(streams(), st.lists(st.integers(0, 600), max_size=8))
def test_responses_are_the_same_however_the_bytes_arrive(stream: tuple[list[list[bytes]], bytes], cuts: list[int]) -> None:
    expected, sent = stream
    bounds = [0, *sorted(min(cut, len(sent)) for cut in cuts), len(sent)]
    pieces = [sent[begin:end] for begin, end in pairwise(bounds)]
    reader = ResponseReader(MAX_LITERAL, MAX_BYTES)
    assert responses(pieces, reader) == expected
    assert not reader.has_unread


@given(st.lists(st.binary(max_size=200) | st.sampled_from([b"\r\n", b"{9}\r\n", b"{1001}\r\n", b"{" + b"9" * 5000 + b"}\r\n"])))
def test_no_bytes_raise_anything_but_a_mailbox_error(pieces: list[bytes]) -> None:
    try:
        found = responses(pieces)
    except MailboxError:
        return
    assert sum(len(piece) for response in found for piece in response) <= sum(map(len, pieces))


def test_an_incomplete_response_waits_as_unread() -> None:
    for begun in (b"* 1 FET", b"* 1 FETCH {5}\r\n", b"* 1 FETCH {5}\r\nabc"):
        reader = ResponseReader(MAX_LITERAL, MAX_BYTES)
        assert responses([begun], reader) == []
        assert reader.has_unread


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"* 1 FETCH (BODY[] {1001}\r\n", "announced a literal of 1001 bytes"),
        (b"* 1 FETCH (BODY[] {" + b"9" * 5000 + b"}\r\n", "announced a literal of 99999999999999999999 bytes"),
        (b"{0}\r\n" * 200, "a line of the answer has no end"),
        (b"* OK\r\n" * 2000, "the answer has no end"),
    ],
    ids=["literal", "number", "pieces", "bytes"],
)
def test_a_limit_is_an_error(sent: bytes, error: str) -> None:
    with pytest.raises(MailboxError, match=error):
        responses([sent])


def test_a_line_and_a_number_of_lines_have_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imap_responses, "MAX_LINE", 100)
    monkeypatch.setattr(imap_responses, "MAX_LINES", 3)
    assert len(responses([b"x" * 100, b"\r\n"])) == 1
    with pytest.raises(MailboxError, match="a line of the answer has no end"):
        responses([b"x" * 101])
    assert len(responses([b"\r\n"] * 3)) == 3
    with pytest.raises(MailboxError, match="the answer has no end"):
        responses([b"\r\n"] * 4)


def test_limits_count_from_each_command() -> None:
    reader = ResponseReader(MAX_LITERAL, 100)
    for _ in range(5):
        reader.start_command()
        assert len(responses([b"x" * 98 + b"\r\n"], reader)) == 1
    with pytest.raises(MailboxError):
        responses([b"x"], reader)


@pytest.mark.parametrize(
    ("response", "mail"),
    [
        ([b"1 FETCH (UID 7 RFC822.SIZE 900 BODY[] {3}", b"abc", b")"], FetchedMail(7, 900, b"abc")),
        ([b"1 FETCH (BODY[]<0> {3}", b"abc", b" uid 7 rfc822.size 900)"], FetchedMail(7, 900, b"abc")),
        ([b"1 FETCH (UID 7 BODY[] {0}", b"", b")"], FetchedMail(7, 0, b"")),
        ([b"1 FETCH (UID 7 RFC822.SIZE 900 BODY[] NIL)"], None),
        ([b"1 FETCH (BODY[] {8}", b"UID 7 )(", b")"], None),
        ([b"1 FETCH (UID 99999999999999999999 BODY[] {1}", b"x", b")"], None),
    ],
)
def test_a_fetch_response_is_a_mail_or_none(response: list[bytes], mail: FetchedMail | None) -> None:
    assert read_fetch(response) == mail


@pytest.mark.parametrize(
    ("length", "size", "whole"),
    [
        (900, 900, True),
        (900, 0, True),
        (900, 50_000, True),
        (FIRST_BYTES, FIRST_BYTES, True),
        (FIRST_BYTES, 0, False),
        (FIRST_BYTES, 65_000, False),
        (FIRST_BYTES, 200_000, False),
    ],
)
def test_a_piece_of_the_requested_length_is_not_the_whole_mail(length: int, size: int, whole: bool) -> None:
    assert FetchedMail(1, size, bytes(length)).whole is whole


def test_select_names_uidvalidity_and_perhaps_uidnext() -> None:
    assert read_folder([b"1 EXISTS", b"OK [UIDVALIDITY 77] fine", b"ok [uidnext 9]"]) == Folder(77, 9)
    assert read_folder([b"OK [UIDVALIDITY 77]"]) == Folder(77, None)
    assert read_folder([b"OK [UIDNEXT 9]"]) is None


def test_search_results_are_sorted_numbers() -> None:
    assert read_uids([b"3 1 2", b"", b"2 x -4 7"]) == [1, 2, 3, 7]


def test_a_range_of_uids_is_written_as_one() -> None:
    assert uid_set(range(5, 105)) == "5:104"
    assert uid_set([5, 7, 8]) == "5,7,8"
