"""Text of a charset: Hebrew stays Hebrew, whatever a program declares and whatever a relay did to some bytes."""

from __future__ import annotations

import pytest

from mailbridge.submission.letter.charsets import decode_text, join_cut_lines, known_charset

HEBREW = "לכבוד מר כהן, מצורף אישור ההזמנה מספר 4471."
SENTENCE = "אנו מאשרים את קבלת ההזמנה ונספק אותה עד סוף החודש. "


@pytest.mark.parametrize(
    ("written_in", "declared"),
    [
        ("utf-8", "utf-8"),
        ("utf-8", "windows-1255"),
        ("utf-8", "iso-8859-1"),
        ("utf-8", "utf-16"),
        ("utf-8", "x-unknown"),
        ("utf-8", None),
        ("utf-8-sig", "us-ascii"),
        ("cp1255", "windows-1255"),
        ("cp1255", "utf-8"),
        ("cp1255", "us-ascii"),
        ("cp1255", "iso-8859-1"),
        ("cp1255", "rot13"),
        ("cp1255", None),
        ("iso8859-8", "iso-8859-8-i"),
        ("iso8859-8", '"ISO-8859-8-E"'),
        ("utf-16", "utf-16"),
        ("utf-16", None),
        ("utf-16-le", "utf-16le"),
        ("utf-7", "utf-7"),
        ("utf-16-le", "utf-8"),
        ("utf-16-be", None),
        ("cp862", "cp862"),
        ("cp862", "windows-1255"),
        ("cp862", None),
    ],
)
def test_hebrew_is_read_whatever_a_program_declares(written_in: str, declared: str | None) -> None:
    assert decode_text(HEBREW.encode(written_in), declared) == HEBREW


@pytest.mark.parametrize(
    ("content", "declared", "text"),
    [
        ("café, déjà vu".encode("latin-1"), "iso-8859-1", "café, déjà vu"),
        ("café".encode("latin-1"), "utf-8", "café"),
        ("“quoted” – 5 €".encode("cp1252"), "iso-8859-1", "“quoted” – 5 €"),
        ("“שלום” ₪5".encode("cp1255"), "iso-8859-8", "“שלום” ₪5"),
        ("请传真".encode("gb18030"), "gb18030", "请传真"),
        ("привет".encode("koi8-r"), "koi8-r", "привет"),
        ("日本".encode("iso2022_jp"), "iso-2022-jp", "日本"),
    ],
)
def test_other_charsets_are_read(content: bytes, declared: str, text: str) -> None:
    assert decode_text(content, declared) == text


@pytest.mark.parametrize("declared", [None, "iso-8859-1", "utf-8"])
@pytest.mark.parametrize(
    "written", ["Пожалуйста, подтвердите получение заказа", "Добрый день! Прошу выслать прайс", "Счет на оплату"]
)
def test_russian_is_not_taken_for_hebrew(written: str, declared: str | None) -> None:
    assert decode_text(written.encode("cp1251"), declared) == written


@pytest.mark.parametrize("through", ["latin-1", "cp1252"])
def test_utf8_that_was_encoded_twice_is_decoded_twice(through: str) -> None:
    # A program leaves the bytes that windows-1252 lacks as they are.
    once = "".join(bytes([byte]).decode(through, "ignore") or chr(byte) for byte in "“שלום” 20 €, נא לשלוח הזמנה".encode())
    assert decode_text(once.encode(), "utf-8") == "“שלום” 20 €, נא לשלוח הזמנה"


@pytest.mark.parametrize("text", ["5 × 4 × 3", "Ã, Ð and ×", "× שלום", "Цена × 3"])
def test_signs_that_look_like_text_encoded_twice_stay(text: str) -> None:
    assert decode_text(text.encode(), "utf-8") == text


@pytest.mark.parametrize(("written_in", "declared"), [("iso8859-8", "iso-8859-8"), ("cp862", "ibm862"), ("cp862", None)])
def test_hebrew_that_was_written_from_left_to_right_is_turned(written_in: str, declared: str | None) -> None:
    visual = "03-1234567 ןופלט .הפיח ,7 .St Herzl :תבותכל 31/12/2026 דע (ףוחד) םיזגרא 20 קפסל אנ"
    logical = "נא לספק 20 ארגזים (דחוף) עד 31/12/2026 לכתובת: Herzl St. 7, חיפה. טלפון 03-1234567"
    assert decode_text(f"{visual}\n".encode(written_in) * 2, declared) == f"{logical}\n" * 2


@pytest.mark.parametrize(
    ("content", "declared", "text"),
    [
        (HEBREW.encode() + b" M\xe1rquez", "utf-8", HEBREW + " M\ufffdrquez"),
        (HEBREW.encode() + b" \xff\xfe", None, HEBREW + " \ufffd\ufffd"),
        (HEBREW.encode() + b" \xe9\xe9", "windows-1255", HEBREW + " \ufffd\ufffd"),
        (b"M\xfcller " + HEBREW.encode("cp1255"), "windows-1255", "Müller " + HEBREW),
        (HEBREW.encode("cp1255") + b" \xd9", "windows-1255", HEBREW + " Ù"),
        ("日本語".encode("shift_jis") + b"\xff", "shift_jis", "日本語\ufffd"),
    ],
)
def test_bytes_that_do_not_fit_cost_only_themselves(content: bytes, declared: str | None, text: str) -> None:
    assert decode_text(content, declared) == text


@pytest.mark.parametrize("cut", ["\r\n ", "\n", "\r\n\t"])
def test_letter_that_a_line_end_cuts_is_joined(cut: str) -> None:
    content = HEBREW.encode()
    at = content.index("כהן".encode()) + 1
    assert decode_text(content[:at] + cut.encode() + content[at:], "utf-8") == HEBREW


@pytest.mark.parametrize("length", [990, 998])
def test_long_line_that_a_relay_cut_is_joined(length: int) -> None:
    content = (SENTENCE * 60).encode()
    relayed, rest = b"", content
    while len(rest) > length:
        taken = length - (1 if relayed else 0)
        relayed, rest = relayed + rest[:taken] + b"\r\n ", rest[taken:]
    assert decode_text(join_cut_lines(relayed + rest), "utf-8") == SENTENCE * 60


def test_lines_that_were_not_cut_stay_as_they_are() -> None:
    for content in (b"a\r\n b\r\n", b"x" * 980 + b"\r\n b", b"x" * 998 + b"\r\nb", b"x" * 998):
        assert join_cut_lines(content) == content
    hebrew = "שלום\r\n“ציטוט”".encode("cp1255")
    assert decode_text(hebrew, "windows-1255") == "שלום\r\n“ציטוט”"


def test_half_of_a_surrogate_pair_becomes_a_mark() -> None:
    assert decode_text(b"a+2AA-b", "utf-7") == "a\ufffdb"
    assert decode_text(b"\xff\xfea\x00\x00\xd8b\x00", None) == "a\ufffdb"


@pytest.mark.parametrize(
    "name", ["idna", "punycode", "unicode_escape", "undefined", "hex", "rot13", "zlib", "", "x\0y", "é", "no such"]
)
def test_codecs_that_are_not_charsets_are_unknown(name: str) -> None:
    assert known_charset(name) == ""
    assert decode_text(b"\\u05d0 xn--a", name) == "\\u05d0 xn--a"
