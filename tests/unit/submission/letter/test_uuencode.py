"""Files by uuencode in a text: their bytes are exact, the text around them stays, and the work is linear."""

from __future__ import annotations

import base64
import binascii
from random import Random

import pytest

from mailbridge.submission.letter import uuencode
from mailbridge.submission.letter.uuencode import CutOff, unpack
from tests.work_counter import calls

CONTENT = Random(1).randbytes(1000) + bytes(50)


def packed(content: bytes, name: bytes = b"a.pdf", end: bytes = b"`\nend\n") -> bytes:
    lines = b"".join(binascii.b2a_uu(content[at : at + 45]) for at in range(0, len(content), 45))
    return b"begin 644 " + name + b"\n" + lines + end


@pytest.mark.parametrize("size", [1, 2, 3, 44, 45, 46, 90, 1050])
def test_bytes_are_exact(size: int) -> None:
    assert unpack(packed(CONTENT[:size])) == (b"", [(b"a.pdf", CONTENT[:size])])


@pytest.mark.parametrize(
    "written",
    [
        packed(CONTENT).replace(b"\n", b"\r\n"),
        packed(CONTENT, end=b" \nend\n"),
        packed(CONTENT, end=b"end\n"),
        packed(CONTENT).replace(b"`", b" "),
        b"".join(line.rstrip(b" ") + b"\n" for line in packed(CONTENT).replace(b"`", b" ").split(b"\n")),
        b"".join(line + b"x\n" if line[:1] == b"M" else line + b"\n" for line in packed(CONTENT).split(b"\n")),
        b"begin-base64 644 a.pdf\n" + base64.encodebytes(CONTENT) + b"====\n",
    ],
    ids=["crlf", "spaces-end", "no-zero-line", "spaces", "stripped", "checksums", "base64"],
)
def test_spellings_of_programs_are_read(written: bytes) -> None:
    text, files = unpack(b"before\n" + written + b"after\n")
    assert files == [(b"a.pdf", CONTENT)]
    assert text.replace(b"\r", b"").replace(b"\n", b" ").split() == [b"before", b"after"]


def test_several_files_are_found() -> None:
    text, files = unpack(b"1\n" + packed(CONTENT, b"my scan.pdf") + b"2\n" + packed(b"x", "ב.pdf".encode()) + b"3\n")
    assert text == b"1\n2\n3\n"
    assert files == [(b"my scan.pdf", CONTENT), ("ב.pdf".encode(), b"x")]


@pytest.mark.parametrize(
    "text",
    [
        b"we begin 644 boxes\nend\n",
        b"begin 644 things\n\nas agreed\n",
        b"begin 644 things\nas agreed, with signs \x80\nend\n",
        b"begin 644 things\n",
        b"begin the work\n#AAAA\nend\n",
    ],
)
def test_prose_stays_as_it_is(text: bytes) -> None:
    assert unpack(text) == (text, [])


def test_file_without_an_end_is_cut_off() -> None:
    for end in (b"", b"a line of prose\n"):
        with pytest.raises(CutOff):
            unpack(packed(CONTENT, end=end))


def test_limits_leave_the_rest_in_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uuencode, "MAX_FILES", 2)
    text, files = unpack(packed(b"x") * 3)
    assert (text, len(files)) == (packed(b"x"), 2)
    monkeypatch.setattr(uuencode, "_MAX_SHORT_LINES", 10)
    with pytest.raises(CutOff):
        unpack(b"begin 644 a\n" + b"#AAAA\n" * 20 + b"end\n")


@pytest.mark.parametrize("piece", [b"begin 644 a\n", b"begin 644 a\n#AAAA\nend\n", b"M" + b"A" * 60 + b"\n", b" \n", b"M"])
def test_work_grows_with_the_text(piece: bytes) -> None:
    def work(size: int) -> None:
        for head in (b"", b"begin 644 a\n"):
            try:
                unpack(head + piece * size)
            except CutOff:
                continue

    assert calls(lambda: work(2000)) < 4.5 * calls(lambda: work(500)) + 500
