"""What is quick for lines of one length comes to the same for all others."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbridge.store.equal_lines import equal_lines, has_crlf_alone, without_line_ends

LINES = st.builds(
    lambda line, count, piece, at, rest: (line * count)[:at] + piece + (line * count)[at:] + rest,
    st.sampled_from([b"abcd\r\n", b"ab\r\n", b"\r\n", b"abcd\n", b"a\rb\r\n", b"a\r\nb\r\n", b"ab\nc\r\n", b"abcd\r\r\n"]),
    st.integers(0, 12),
    st.sampled_from([b"", b"", b"", b"x", b"\r", b"\n", b"\r\n", b"ab\r\n"]),
    st.integers(0, 60),
    st.sampled_from([b"", b"ab", b"ab\r\n", b"\r", b"--x--\r\n"]),
)


@given(LINES, st.integers(0, 20), st.integers(1, 20))
def test_each_line_end_is_found(data: bytes, head: int, tail: int) -> None:
    assert without_line_ends(data) == data.replace(b"\r", b"").replace(b"\n", b"")
    assert has_crlf_alone(data, head, tail) == (re.search(rb"\r(?!\n)|(?<!\r)\n", data) is None)


@pytest.mark.parametrize(
    ("data", "length"),
    [
        (b"ab\r\ncd\r\n", 4),
        (b"ab\r\nc\r\n", 0),
        (b"ab\ncd\n", 0),
        (b"ab\r\ncd\n\n", 0),
        (b"\r\n\r\n", 2),
        (b"abcd", 0),
        (b"\n\n", 0),
    ],
)
def test_lines_of_one_length_end_in_cr_lf(data: bytes, length: int) -> None:
    assert equal_lines(data, 0, len(data)) == length
    assert equal_lines(b"x" + data + b"y", 1, len(data) + 1) == length
