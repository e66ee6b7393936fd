"""Transfer encodings as real programs write them, cut into pieces in every way."""

from __future__ import annotations

import base64
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbridge.store.transfer_encoding import decoder

DATA = bytes(range(256)) * 4
LINES = base64.encodebytes(DATA)


def decode(body: bytes, encoding: str = "base64", cuts: tuple[int, ...] = ()) -> bytes:
    decoding = decoder(encoding)
    marks = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces = [body[start:end] for start, end in pairwise(marks)]
    return b"".join(decoding.decode(piece, number == len(pieces) - 1) for number, piece in enumerate(pieces))


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_base64_is_decoded_whatever_its_line_ends(newline: bytes) -> None:
    assert decode(LINES.replace(b"\n", newline)) == DATA


def test_base64_goes_on_behind_padding() -> None:
    assert decode(base64.encodebytes(DATA[:100]) + base64.encodebytes(DATA[100:])) == DATA


def test_base64_encoded_line_by_line_is_decoded() -> None:
    lines = [b"Dear Dana,\n", b"the order is ready.\n", b"Yossi\n"]
    assert decode(b"\r\n".join(base64.b64encode(line) for line in lines)) == b"".join(lines)


@pytest.mark.parametrize("text", ["שלום לך", "שלום לך!", "שלום לך!!"])
@pytest.mark.parametrize(
    "footer", [b"-- \r\nChecked by the office mail wall\r\n", b"\r\nScanned by wall.example\r\nhttp://wall.example/\r\n"]
)
def test_footer_behind_base64_is_not_decoded(text: str, footer: bytes) -> None:
    body = base64.b64encode(text.encode()) + b"\r\n" + footer
    assert decode(body).decode() == text


def test_footer_behind_a_document_leaves_the_document_whole() -> None:
    assert decode(LINES + b"\n____________________\nThis mail was checked for viruses.\n") == DATA


def test_prose_in_front_of_base64_is_left_out() -> None:
    assert decode(b"Caution: this mail comes from outside.\n" + LINES) == DATA


def test_stray_byte_inside_a_line_is_skipped() -> None:
    assert decode(LINES.replace(b"AAEC", b"AA!EC", 1)) == DATA


def test_blanks_at_the_ends_of_lines_are_skipped() -> None:
    assert decode(LINES.replace(b"\n", b" \t\r\n")) == DATA


def test_missing_padding_is_forgiven() -> None:
    assert decode(base64.b64encode(DATA[:100]).rstrip(b"=")) == DATA[:100]


def test_body_that_is_no_base64_at_all_yields_something_short() -> None:
    assert len(decode(b"hello world")) < 11


@given(st.binary(max_size=300), st.sampled_from([60, 64, 72, 76]), st.lists(st.integers(0, 500), max_size=4))
def test_base64_of_the_standard_library_is_decoded_however_it_is_cut(content: bytes, width: int, cuts: list[int]) -> None:
    encoded = base64.b64encode(content)
    body = b"\r\n".join(encoded[start : start + width] for start in range(0, len(encoded), width))
    assert decode(body, cuts=tuple(cuts)) == content


PIECES = st.sampled_from(
    [b"QUJD", b"QQ==", b"=", b"\r\n", b"\n", b"-- ", b"A word and another", b"!", b"QUJD" * 16, b" ", b"\xff", b"ab"]
)


@given(
    st.lists(PIECES, max_size=12),
    st.lists(st.integers(0, 300), max_size=4),
    st.sampled_from(["base64", "quoted-printable", "identity"]),
)
def test_cuts_never_change_the_result(pieces: list[bytes], cuts: list[int], encoding: str) -> None:
    body = b"".join(pieces)
    assert decode(body, encoding, tuple(cuts)) == decode(body, encoding)
