"""Rich Text, uuencode and charsets: any bytes become text, or the error that each says."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from mailbridge.submission.letter.charsets import decode_text, join_cut_lines
from mailbridge.submission.letter.encoded_text import find_encoded
from mailbridge.submission.letter.rtf import decompress, text_of_rtf
from mailbridge.submission.letter.uuencode import CutOff, unpack
from tests.unit.submission.letter import tnef_writer

RTF_PIECES = [
    *(b"{", b"}", b"\\u-1?", b"\\uc3", b"\\f1", b"\\'e0", b"\\"),
    *(b"{\\fonttbl{\\f1\\fcharset177", b"\\fromhtml1", b"{\\*\\htmltag <p>}"),
]
UU_PIECES = [b"begin 644 a\n", b"begin-base64 644 b\n", b"#86)C\n", b"`\n", b"end\n", b"====\n"]
CHARSETS = ["utf-8", "windows-1255", "iso-8859-8-i", "utf-7", "utf-16", "iso-2022-jp", "gb18030", "cp037"]


def built_of(pieces: list[bytes]) -> st.SearchStrategy[bytes]:
    return st.lists(st.one_of(st.sampled_from(pieces), st.binary(max_size=8)), max_size=30).map(b"".join)


@given(built_of(RTF_PIECES))
def test_rich_text_becomes_text(rtf: bytes) -> None:
    text_of_rtf(rtf).encode()


@given(st.binary(max_size=200), st.binary(max_size=60))
def test_compressed_rich_text_is_read_or_refused(raw: bytes, change: bytes) -> None:
    with contextlib.suppress(ValueError):
        decompress(raw)
    packed = tnef_writer.rtf(raw.hex())
    assert decompress(packed) == raw.hex().encode()
    with contextlib.suppress(ValueError):
        decompress(packed[:16] + change + packed[16 + len(change) :])


@given(built_of(UU_PIECES))
def test_text_with_files_is_unpacked_or_cut_off(text: bytes) -> None:
    with contextlib.suppress(CutOff):
        rest, files = unpack(text)
        assert len(rest) <= len(text)
        assert all(file.content for file in files)


@given(st.binary(max_size=300), st.one_of(st.sampled_from(CHARSETS), st.text(max_size=12)))
def test_any_bytes_are_text_in_any_charset(content: bytes, charset: str) -> None:
    text = decode_text(join_cut_lines(content), charset)
    text.encode()
    find_encoded(text)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=200))
def test_text_in_utf_8_stays_as_it_is(text: str) -> None:
    if not text.startswith("\ufeff"):
        assert decode_text(text.encode(), "utf-8") == text
