"""Attacks by documents that failed when they were tried, so that they go on failing: little files that are huge inside."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mailbridge.errors import Refused
from mailbridge.submission.letter.pictures import load_pictures
from tests.unit.submission.letter.letter_fixtures import bomb, mail, pdf_of, read
from tests.work_counter import calls

_MEGABYTE = 1_000_000
_FIELDS = ((256, 3, 8), (257, 3, 8), (258, 3, 1), (259, 3, 1), (262, 3, 1), (277, 3, 1), (278, 3, 8), (279, 4, 8))


def docx_of(size: int) -> bytes:
    """A file of Word whose text has so many bytes when it is unpacked."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("word/document.xml", "w") as text:
        for _ in range(size // _MEGABYTE):
            text.write(bytes(_MEGABYTE))
    return buffer.getvalue()


def zip_of(entries: int, *, zip64: bool = False) -> bytes:
    """A ZIP whose directory has so many entries, all of them the same file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("word/document.xml"), b"<x/>")
    whole = buffer.getvalue()
    at, end = whole.index(b"PK\x01\x02"), whole.index(b"PK\x05\x06")
    directory = whole[at:end] * entries
    record = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, entries, entries, len(directory), at)
    locator = b"PK\x06\x07" + struct.pack("<IQI", 0, at + len(directory), 1)
    sizes = (0xFFFF, 0xFFFF, 0xFFFFFFFF, at) if zip64 else (entries % 65536, entries % 65536, len(directory), at)
    last = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, *sizes, 0)
    return whole[:at] + directory + (record + locator if zip64 else b"") + last


def tiff_of(*following: int) -> bytes:
    """A TIFF with one page for each argument: the number of the page that follows it, -1 for none."""
    size = 2 + 12 * (len(_FIELDS) + 1) + 4
    strip = 8 + size * len(following)
    content = b"II*\x00" + struct.pack("<I", 8)
    for other in following:
        fields = sorted([*_FIELDS, (273, 4, strip)])
        content += struct.pack("<H", len(fields)) + b"".join(struct.pack("<HHII", tag, kind, 1, at) for tag, kind, at in fields)
        content += struct.pack("<I", 8 + size * other if other >= 0 else 0)
    return content + bytes(_MEGABYTE // 1000)


def outcome(tmp_path: Path, name: str, content: bytes) -> tuple[str, int, int]:
    """Read a mail with this file. Return the reply or the pages, how many functions were called, and the peak of memory."""
    message, found = bytes(mail("", (name, "application/octet-stream", content))), list[str]()

    def work() -> None:
        try:
            found.append(f"{read(tmp_path, message).documents[0].pages} pages")
        except Refused as refusal:
            found.append(refusal.reply)

    load_pictures()  # as a worker has
    tracemalloc.start()
    count = calls(work)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found[0], count, peak


@pytest.mark.parametrize(
    ("name", "make", "answer"),
    [
        ("a.docx", lambda: docx_of(300 * _MEGABYTE), "None pages"),
        ("a.docx", lambda: zip_of(250_000), "an archive"),
        ("a.docx", lambda: zip_of(250_000, zip64=True), "an archive"),
        ("a.zip", lambda: zip_of(250_000), "an archive"),
        ("a.png", bomb, "too large"),
        ("a.tif", lambda: tiff_of(0), "1 pages"),
        ("a.tif", lambda: tiff_of(1, 0), "2 pages"),
        ("a.tif", lambda: tiff_of(1, 2, 1), "3 pages"),
        ("a.pdf", lambda: pdf_of(500_000), "more than 1000 pages"),
    ],
    ids=[
        "DOCX of 300 MB",
        "DOCX of 250,000 files",
        "ZIP64 of 250,000 files",
        "ZIP of 250,000 files",
        "PNG of 60,000 by 60,000",
        "TIFF of one page that follows itself",
        "TIFF of two pages in a ring",
        "TIFF of three pages in a ring",
        "PDF of 500,000 kids",
    ],
)
def test_held_a_file_that_is_huge_inside_takes_little_work_and_memory(
    tmp_path: Path, name: str, make: Callable[[], bytes], answer: str
) -> None:
    content = make()
    found, count, peak = outcome(tmp_path, name, content)
    assert answer in found
    assert count < 20_000
    # A few copies of the mail and its file, and nothing of what the file says that it is.
    assert peak < 10 * len(content) + 5 * _MEGABYTE


@pytest.mark.parametrize("zip64", [False, True])
def test_a_file_of_word_with_a_thousand_parts_is_one(tmp_path: Path, zip64: bool) -> None:
    assert outcome(tmp_path, "a.docx", zip_of(1000, zip64=zip64))[0] == "None pages"
