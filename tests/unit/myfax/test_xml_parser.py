"""MyFax's XML as a real server prints it: what is read in spite of its faults, and what is never read."""

from __future__ import annotations

from decimal import Decimal

import pytest

from mailbridge.errors import MyFaxError
from mailbridge.myfax import xml_parser
from mailbridge.myfax.answers import UploadAnswer, read_release, read_upload
from mailbridge.myfax.xml_parser import MAX_ANSWER, Unreadable
from tests.work_counter import hang_guard

UPLOAD = """<?xml version="1.0" encoding="UTF-8"?>
<RESPONSE>
  <RESPONSE_CODE>0</RESPONSE_CODE>
  <RESPONSE_TEXT>נשלח</RESPONSE_TEXT>
  <FAX_CODE>3cf6c2ae-7b76-4f2e</FAX_CODE>
  <FAX_STATUS>0</FAX_STATUS>
  <PRICE>0.40</PRICE>
  <CREDIT_LEFT>118</CREDIT_LEFT>
  <FAX_PAGES>3</FAX_PAGES>
</RESPONSE>
"""
# Blanks inside the tags, as the service's document prints them.
SPACED = """<?xml version="1.0" encoding="UTF-8"?>
<RESPONSE>
  <RESPONSE_CODE> 0 </RESPONSE_CODE>
  <RESPONSE_TEXT> נשלח </RESPONSE_TEXT>
  <FAX_CODE> 3cf6c2ae-7b76-4f2e</ FAX_CODE >
  <FAX_STATUS>0 </ FAX_STATUS >
  < PRICE>0.40 </ PRICE>
  <CREDIT_LEFT>
    118
  </CREDIT_LEFT>
  <FAX_PAGES>3</FAX_PAGES >
</RESPONSE>
"""
WHOLE = UploadAnswer(0, "נשלח", "3cf6c2ae-7b76-4f2e", 0, Decimal("0.40"), Decimal(118), 3)


def answer(inside: str) -> bytes:
    return f"<RESPONSE><RESPONSE_CODE>0</RESPONSE_CODE>{inside}</RESPONSE>".encode()


@pytest.mark.parametrize("text", [UPLOAD, SPACED])
@pytest.mark.parametrize("before", ["", "\ufeff", "\r\n\r\n  \t", "\ufeff\n\n"])
def test_spaced_tags_a_bom_and_leading_blank_lines_are_read(text: str, before: str) -> None:
    assert read_upload((before + text).encode()) == WHOLE


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [
        ("UTF-8", "windows-1255"),
        ("windows-1255", "windows-1255"),
        ("ISO-8859-8", "iso-8859-8"),
        ("iso-8859-8-i", "iso-8859-8"),
        ("utf-8", "utf-16"),
        ("windows-1255", "utf-8"),
    ],
)
def test_hebrew_is_decoded_by_its_real_encoding(declared: str, encoding: str) -> None:
    assert read_upload(SPACED.replace("UTF-8", declared).encode(encoding)) == WHOLE


def test_undecodable_text_is_replaced_and_the_code_is_read() -> None:
    body = UPLOAD.encode().replace("נשלח".encode(), b"\xff\xfe\x81\xd7")
    assert read_upload(body).fax_code == "3cf6c2ae-7b76-4f2e"
    assert read_upload(b"<RESPONSE><RESPONSE_CODE>-7</RESPONSE_CODE></RESPONSE>") == UploadAnswer(-7, "")


@pytest.mark.parametrize("text", [UPLOAD, SPACED])
def test_a_truncated_answer_is_never_read_as_whole(text: str) -> None:
    body = text.rstrip().encode()
    for length in range(len(body)):
        with pytest.raises(Unreadable):
            read_upload(body[:length])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   \r\n",
        b"OK",
        b"0",
        b"<html><body>Welcome</body></html>",
        b"\n\n<!DOCTYPE html><html></html>",
        b"<p>Not found</p>",
        b"{}",
        b"<RESPONSE></RESPONSE>",
        b"<RESPONSE><RESPONSE_CODE></RESPONSE_CODE></RESPONSE>",
        b"<RESPONSE><RESPONSE_CODE>zero</RESPONSE_CODE></RESPONSE>",
        b"<RESPONSE><RESPONSE_CODE>0.5</RESPONSE_CODE></RESPONSE>",
        "<RESPONSE><RESPONSE_CODE>٣</RESPONSE_CODE></RESPONSE>".encode(),
        b"<RESPONSE><LIST><RESPONSE_CODE>0</RESPONSE_CODE></LIST></RESPONSE>",
        b"<ANSWER><RESPONSE_CODE>0</RESPONSE_CODE></ANSWER>",
        b"<RESPONSE><RESPONSE_CODE>0</RESPONSE_CODE></RESPONSE><RESPONSE/>",
        b"<RESPONSE><RESPONSE_CODE>0</RESPONSE_CODE></RESPONSE>trailing",
        b"<RESPONSE><RESPONSE_CODE>0</RESPONSE_CODE>&nbsp;</RESPONSE>",
        b"\x00<RESPONSE><RESPONSE_CODE>0</RESPONSE_CODE></RESPONSE>",
    ],
)
def test_an_answer_that_is_not_the_documented_xml_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        read_upload(body)


@pytest.mark.parametrize(
    "dtd",
    [
        '<!DOCTYPE RESPONSE SYSTEM "http://x/y.dtd">',
        '<!DOCTYPE RESPONSE [<!ENTITY a "b">]>',
        '<!DOCTYPE RESPONSE [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
        "<!-- a --><!DOCTYPE RESPONSE>",
    ],
)
@pytest.mark.parametrize("declaration", ["", '<?xml version="1.0"?>\n'])
def test_a_dtd_or_an_entity_is_refused(dtd: str, declaration: str) -> None:
    body = f"{declaration}{dtd}<RESPONSE><RESPONSE_CODE>0</RESPONSE_CODE><FAX_CODE>c</FAX_CODE></RESPONSE>"
    with pytest.raises(Unreadable, match="DTD"):
        read_upload(body.encode())


def test_an_answer_over_256_kb_is_refused() -> None:
    room = MAX_ANSWER - len(answer("<RESPONSE_TEXT></RESPONSE_TEXT>"))
    assert len(read_release(answer(f"<RESPONSE_TEXT>{'x' * room}</RESPONSE_TEXT>")).text) == 1000
    with pytest.raises(Unreadable, match="longer"):
        read_release(answer(f"<RESPONSE_TEXT>{'x' * (room + 1)}</RESPONSE_TEXT>"))


@pytest.mark.parametrize(
    ("printed", "read"),
    [
        ("Smith & Co", "Smith & Co"),
        ("a &amp; b &lt;", "a & b <"),
        ("?a=1&b=2&copy=3", "?a=1&b=2&copy=3"),
        ("<![CDATA[a & b]]>", "a & b"),
        ("a\x0bb\x00c\uffff", "a\ufffdb\ufffdc\ufffd"),
        ("&#1488;&#x5d1;", "אב"),
    ],
)
def test_a_bare_ampersand_and_invalid_characters_are_tolerated(printed: str, read: str) -> None:
    assert read_release(answer(f"<RESPONSE_TEXT>{printed}</RESPONSE_TEXT>")).text == read


def test_an_answer_nested_too_deeply_is_unreadable() -> None:
    assert read_release(answer("<A>" * 14 + "</A>" * 14)).response_code == 0
    for depth in (40, 30_000):
        with pytest.raises(Unreadable, match="deep"):
            read_release(answer("<A>" * depth + "</A>" * depth))


def test_a_field_given_twice_is_unreadable_unless_both_are_equal() -> None:
    assert read_upload(answer("<FAX_CODE>c</FAX_CODE><FAX_CODE> c </FAX_CODE><FAX_CODE/>")).fax_code == "c"
    with pytest.raises(Unreadable, match="FAX_CODE"):
        read_upload(answer("<FAX_CODE>c</FAX_CODE><FAX_CODE>d</FAX_CODE>"))
    with pytest.raises(Unreadable, match="RESPONSE_CODE"):
        read_upload(answer("<RESPONSE_CODE>-1</RESPONSE_CODE>"))


@pytest.mark.parametrize(
    "body",
    [
        b"<?xml" * 1_600_000,
        b"<" + b" " * 8_000_000,
        b"< " * 4_000_000,
        b"<a" * 4_000_000,
        b"<?xml version='1.0' encoding='punycode'?><A>\xff" + b"a" * 8_000_000,
        b"<?xml version='1.0' encoding='unicode_escape'?><A>\xff\\q</A>",
        b"<?xml version='1.0' encoding='utf-7'?><RESPONSE>\xff+2AA-</RESPONSE>",
    ],
    ids=["declarations", "blanks", "tags of blanks", "tags", "punycode", "unicode_escape", "utf-7"],
)
def test_a_hostile_answer_is_rejected_in_proportion_to_its_length(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xml_parser, "MAX_ANSWER", len(body))
    with hang_guard(), pytest.raises(MyFaxError):
        read_upload(body)
