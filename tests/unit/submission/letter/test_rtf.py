"""Rich Text: decompressed as Outlook packs it, and read as a reader of RTF shows it."""

from __future__ import annotations

import struct

import pytest

from mailbridge.submission.letter.rtf import decompress, text_of_rtf
from tests.unit.submission.letter import tnef_writer
from tests.work_counter import calls

# MS-OXRTFCP section 4.1: what two texts are when they are compressed.
SIMPLE = "2d0000002b0000004c5a4675f1c5c7a703000a007263706731323542320af32068656c090020627705b06c647d0a800fa0"
CROSSING = "1a0000001c0000004c5a4675e2d44b51410004205758595a0d6e7d010eb0"


def test_examples_of_the_specification_are_decompressed() -> None:
    assert decompress(bytes.fromhex(SIMPLE)) == b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n"
    assert decompress(bytes.fromhex(CROSSING)) == b"{\\rtf1 WXYZWXYZWXYZWXYZWXYZ}"


def test_literals_and_uncompressed_text_are_decompressed() -> None:
    source = "{\\rtf1 " + "abc" * 100 + "}"
    assert decompress(tnef_writer.rtf(source)) == source.encode()
    assert decompress(struct.pack("<II4sI", 20, 4, b"MELA", 0) + b"{\\a}rest") == b"{\\a}"


@pytest.mark.parametrize("compressed", [b"", b"x" * 8, b"\0" * 20, struct.pack("<II4sI", 9, 2_000_001, b"LZFu", 0)])
def test_other_bytes_and_long_texts_are_refused(compressed: bytes) -> None:
    with pytest.raises(ValueError, match=r"RTF|long"):
        decompress(compressed)


def test_text_that_is_cut_off_is_decompressed_as_far_as_it_goes() -> None:
    whole = bytes.fromhex(SIMPLE)
    for end in range(16, len(whole)):
        assert b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n".startswith(decompress(whole[:end]))


@pytest.mark.parametrize(
    ("rtf", "text"),
    [
        (r"{\rtf1\ansi hello\par world\tab x}", "hello\nworld\tx"),
        (r"{\rtf1\ansi\ansicpg1255 \'f9\'ec\'e5\'ed}", "שלום"),
        (r"{\rtf1{\fonttbl{\f0\fcharset0 Arial;}{\f1\fcharset177 David;}}\f1\'f9\'ec\'e5\'ed\f0  caf\'e9}", "שלום café"),
        (r"{\rtf1\uc1\u1513?\u1500?\u1493?\u1501? \uc0\u8362 5}", "שלום ₪5"),
        (r"{\rtf1 \u-10179?\u-8704? \u-10179?x}", "😀 \ufffdx"),
        (r"{\rtf1{\stylesheet{\s0 Normal;}}{\info{\title x}}{\pict 0102}{\*\unknown y}{\b bold} \{\\\}}", "bold {\\}"),
        (r"{\rtf1 a\~b\-c\_d\emdash\lquote x\rquote}", "a bc-d—‘x’"),
        (r"a}}}{\rtf1 b", "ab"),
        (
            r"{\rtf1\fromhtml1{\*\htmltag64 <p>}\htmlrtf {\htmlrtf0 1 < 2{\*\htmltag72 </p>}\htmlrtf\par}\htmlrtf0"
            r"{\*\htmltag64 <p>}b}",
            "1 < 2\n\nb",
        ),
    ],
)
def test_text_is_what_a_reader_shows(rtf: str, text: str) -> None:
    assert text_of_rtf(rtf.encode()) == text


PIECES = ["{", "}", "\\", "\\u1?", "\\'e0", "\\f0 a", "{\\*", "a{}", "{\\fonttbl", "\\fromhtml{\\*\\htmltag <p>}"]


@pytest.mark.parametrize("piece", PIECES)
def test_work_grows_with_the_text(piece: str) -> None:
    def work(size: int) -> None:
        text_of_rtf(decompress(tnef_writer.rtf("{\\rtf1 " + piece * (size // len(piece)))))

    assert calls(lambda: work(20_000)) < 4.5 * calls(lambda: work(5_000)) + 500
