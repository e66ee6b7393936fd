"""MyFax on the wire: forms by the documented names, codes to outcomes, and answers as a real server prints them."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import get_args
from zoneinfo import ZoneInfo

import pytest

from mailbridge.errors import MyFaxError
from mailbridge.model import ErrorCode
from mailbridge.myfax import xml_codec
from mailbridge.myfax.xml_codec import DELIVERED, MAX_ANSWER, PENDING, Outcome, Unreadable

ISRAEL = ZoneInfo("Asia/Jerusalem")
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
WHOLE = xml_codec.UploadAnswer(0, "נשלח", "3cf6c2ae-7b76-4f2e", 0, Decimal("0.40"), Decimal(118), 3)
PLAIN_FORM = {"email": "a@b.c", "password": "pw"}


def answer(inside: str) -> bytes:
    return f"<RESPONSE><RESPONSE_CODE>0</RESPONSE_CODE>{inside}</RESPONSE>".encode()


def test_forms_have_the_documented_names() -> None:
    assert xml_codec.send_form("a@b.c", "pw", "03-1234567") == {**PLAIN_FORM, "faxNumber": "03-1234567", "resultType": "XML"}
    assert xml_codec.send_form("a@b.c", "pw", "1", "https://x/y.pdf")["fileURL"] == "https://x/y.pdf"
    assert xml_codec.status_form("a@b.c", "pw", "code") == {**PLAIN_FORM, "faxCode": "code"}
    whole_page = {**PLAIN_FORM, "p": "2", "listType": "voice"}
    assert xml_codec.incoming_form("a@b.c", "pw", 2, "voice", None, None, ISRAEL) == whole_page
    distributor = {"distEmail": "a@b.c", "distPassword": "pw", "resultType": "XML"}
    fields = {"email": "new@b.c", "fullName": None}
    assert xml_codec.distributor_form("a@b.c", "pw", fields) == {**distributor, "email": "new@b.c"}


def test_times_are_told_in_the_zone_of_the_service() -> None:
    start, end = datetime(2026, 1, 4, 22, 30, tzinfo=UTC), datetime(2026, 7, 4, 22, 30, 59, tzinfo=UTC)
    form = xml_codec.incoming_form("a@b.c", "pw", 0, "incoming", start, end, ISRAEL)
    assert (form["startDate"], form["endDate"]) == ("2026-01-05 00:30:00", "2026-07-05 01:30:59")


@pytest.mark.parametrize(
    ("code", "final", "outcome"),
    [
        *((code, False, PENDING) for code in (None, 0, 1, 2, 3, 4, 6, 7, 9, 10, 42, -1)),
        *((code, True, PENDING) for code in (None, 0, 1, 4)),
        (2, True, Outcome("failed", "no_answer")),
        (3, True, Outcome("failed", "busy")),
        (6, True, Outcome("failed", "wrong_number")),
        (7, True, Outcome("failed", "transfer_failed")),
        (9, True, DELIVERED),
        (10, True, DELIVERED),
        *((code, True, Outcome("failed", "unknown")) for code in (5, 8, 11, 42, -1)),
    ],
)
def test_the_status_list_is_an_outcome_only_when_final(code: int | None, final: bool, outcome: Outcome) -> None:
    assert xml_codec.status_outcome(code, final) == outcome


@pytest.mark.parametrize(
    ("status", "code", "outcome"),
    [
        ("Success", 9, DELIVERED),
        (" success ", 9, DELIVERED),
        ("Fail", 9, "ask"),
        (None, 9, "ask"),
        ("Success", 3, "ask"),
        ("Success", 42, "ask"),
        ("Fail", 2, Outcome("failed", "no_answer")),
        ("Fail", 3, Outcome("failed", "busy")),
        ("FAIL", 6, Outcome("failed", "wrong_number")),
        ("Fail", 7, Outcome("failed", "transfer_failed")),
        ("Fail", 42, Outcome("failed", "unknown")),
        ("Fail", 4, "ask"),
        ("Fail", 10, "ask"),
        ("Success", 10, "ask"),
        ("Fail", None, "ask"),
        ("Fail", 0, PENDING),
        ("Success", 1, PENDING),
    ],
)
def test_the_codes_of_a_report_are_read_by_their_own_list(status: str | None, code: int | None, outcome: object) -> None:
    assert xml_codec.report_outcome(status, code) == outcome


def test_every_code_is_told_in_words_and_an_unknown_one_with_its_number() -> None:
    told = [xml_codec.describe(code) for code in (0, 1, 2, 3, 4, 6, 7, 9, 10)]
    assert len(set(told)) == len(told)
    assert "42" in xml_codec.describe(42)
    assert xml_codec.describe(None)
    assert all(xml_codec.status_outcome(code, True).error in (None, *get_args(ErrorCode)) for code in range(-5, 50))


@pytest.mark.parametrize("said", ["true", "TRUE", "True", "1", "yes", " Yes "])
def test_final_status_is_taken_in_any_spelling(said: str) -> None:
    assert xml_codec.read_status(answer(f"<FINAL_STATUS>{said}</FINAL_STATUS>")).final


@pytest.mark.parametrize("said", ["false", "0", "no", "", "2", "is status final", "truely"])
def test_all_else_is_not_final(said: str) -> None:
    assert not xml_codec.read_status(answer(f"<FINAL_STATUS>{said}</FINAL_STATUS>")).final
    assert not xml_codec.read_status(answer("")).final


@pytest.mark.parametrize("text", [UPLOAD, SPACED])
@pytest.mark.parametrize("before", ["", "\ufeff", "\r\n\r\n  \t", "\ufeff\n\n"])
def test_spaced_tags_a_bom_and_leading_blank_lines_are_read(text: str, before: str) -> None:
    assert xml_codec.read_upload((before + text).encode()) == WHOLE


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
def test_hebrew_is_read_in_what_it_is_really_encoded(declared: str, encoding: str) -> None:
    assert xml_codec.read_upload(SPACED.replace("UTF-8", declared).encode(encoding)) == WHOLE


def test_text_that_nothing_decodes_is_replaced_and_the_code_is_read() -> None:
    body = UPLOAD.encode().replace("נשלח".encode(), b"\xff\xfe\x81\xd7")
    assert xml_codec.read_upload(body).fax_code == "3cf6c2ae-7b76-4f2e"
    assert xml_codec.read_upload(b"<RESPONSE><RESPONSE_CODE>-7</RESPONSE_CODE></RESPONSE>") == xml_codec.UploadAnswer(-7, "")


@pytest.mark.parametrize("text", [UPLOAD, SPACED])
def test_a_truncated_answer_is_never_read_as_whole(text: str) -> None:
    body = text.rstrip().encode()
    for length in range(len(body)):
        with pytest.raises(Unreadable):
            xml_codec.read_upload(body[:length])


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
def test_what_is_not_the_promised_xml_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        xml_codec.read_upload(body)


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
        xml_codec.read_upload(body.encode())


def test_an_answer_over_256_kb_is_refused() -> None:
    room = MAX_ANSWER - len(answer("<RESPONSE_TEXT></RESPONSE_TEXT>"))
    assert len(xml_codec.read_release(answer(f"<RESPONSE_TEXT>{'x' * room}</RESPONSE_TEXT>")).text) == 1000
    with pytest.raises(Unreadable, match="longer"):
        xml_codec.read_release(answer(f"<RESPONSE_TEXT>{'x' * (room + 1)}</RESPONSE_TEXT>"))


def test_a_status_that_is_no_known_code_stays_visible() -> None:
    told = xml_codec.read_status(answer("<FAX_STATUS>42</FAX_STATUS><FINAL_STATUS>true</FINAL_STATUS>"))
    assert (told.status, told.printed_status) == (42, "42")
    assert "42" in xml_codec.describe(told.status)
    told = xml_codec.read_status(answer("<FAX_STATUS> SENT </FAX_STATUS><FINAL_STATUS>true</FINAL_STATUS>"))
    assert (told.status, told.printed_status) == (None, "SENT")
    assert xml_codec.status_outcome(told.status, told.final) == PENDING


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
def test_a_bare_ampersand_and_what_is_no_character_cost_no_answer(printed: str, read: str) -> None:
    assert xml_codec.read_release(answer(f"<RESPONSE_TEXT>{printed}</RESPONSE_TEXT>")).text == read


def test_nesting_is_bounded() -> None:
    assert xml_codec.read_release(answer("<A>" * 14 + "</A>" * 14)).response_code == 0
    for depth in (40, 30_000):
        with pytest.raises(Unreadable, match="deep"):
            xml_codec.read_release(answer("<A>" * depth + "</A>" * depth))


def test_a_field_given_twice_counts_once_when_it_says_the_same_and_is_unreadable_when_not() -> None:
    assert xml_codec.read_upload(answer("<FAX_CODE>c</FAX_CODE><FAX_CODE> c </FAX_CODE><FAX_CODE/>")).fax_code == "c"
    with pytest.raises(Unreadable, match="FAX_CODE"):
        xml_codec.read_upload(answer("<FAX_CODE>c</FAX_CODE><FAX_CODE>d</FAX_CODE>"))
    with pytest.raises(Unreadable, match="RESPONSE_CODE"):
        xml_codec.read_upload(answer("<RESPONSE_CODE>-1</RESPONSE_CODE>"))


def test_an_empty_field_is_no_field() -> None:
    assert xml_codec.read_upload(answer("<FAX_CODE>  </FAX_CODE><PRICE/>")) == xml_codec.UploadAnswer(0, "")
    assert xml_codec.read_upload(answer("<FAX_PAGES>three</FAX_PAGES>")).pages is None


def test_the_other_answers_are_read_whole() -> None:
    inside = "<FAX_CODE>c</FAX_CODE><FAX_STATUS>9</FAX_STATUS><FINAL_STATUS>true</FINAL_STATUS>"
    inside += "< PRICE>0.40</ PRICE><CREDIT_LEFT>7</CREDIT_LEFT>"
    assert xml_codec.read_status(answer(inside)) == xml_codec.StatusAnswer(0, "", "c", 9, True, Decimal("0.40"), Decimal(7), "9")
    inside = "<USER_ID> 4711</ USER_ID><USER_FAX_NUMBER>03-9876543 </ USER_FAX_NUMBER><USER_EMAIL>a@b.c</ USER_EMAIL>"
    registered = xml_codec.read_register(answer(inside + "< PRICE>10</ PRICE><EXPIRE>2027-01-01</ EXPIRE>"), ISRAEL)
    expires = datetime(2026, 12, 31, 22, tzinfo=UTC)
    assert registered == xml_codec.RegisterAnswer(
        0, "", "4711", "03-9876543", "a@b.c", Decimal(10), "2027-01-01", "+97239876543", expires
    )
    unread = xml_codec.read_register(answer("<USER_FAX_NUMBER>soon</USER_FAX_NUMBER><PRICE>free</PRICE><EXPIRE>never</EXPIRE>"))
    assert unread == xml_codec.RegisterAnswer(0, "", None, "soon", None, None, "never", None, None)
    assert xml_codec.read_release(answer("<RESPONSE_TEXT>OK</RESPONSE_TEXT>")) == xml_codec.ReleaseAnswer(0, "OK")


def test_a_page_of_received_faxes_is_read_with_times_of_the_zone() -> None:
    item = "<ITEM><ID>1-2</ID><TIME>{}</TIME><DID>+9727</DID><SOURCE>08-9999999</SOURCE><URL>https://x/</URL></ITEM>"
    listed = "".join(item.format(told) for told in ("2020-12-21 14:19:42.0", "2020-07-21 14:19:42", "yesterday", ""))
    page = xml_codec.read_incoming(answer(f"<LIST>{listed}</LIST><PAGES>2</PAGES><NEXT_PAGE>1</NEXT_PAGE>"), ISRAEL)
    assert (page.pages, page.next_page, len(page.items)) == (2, 1, 4)
    first = page.items[0]
    assert (first.id, first.did, first.source, first.url) == ("1-2", "+9727", "08-9999999", "https://x/")
    assert (first.did_e164, first.source_e164) == (None, "+97289999999")
    times = [item.time and item.time.isoformat() for item in page.items]
    assert times == ["2020-12-21T12:19:42+00:00", "2020-07-21T11:19:42+00:00", None, None]


def test_an_anonymous_caller_is_none_and_an_item_without_an_id_is_refused() -> None:
    page = xml_codec.read_incoming(answer("<LIST><ITEM><ID>1</ID><SOURCE> </SOURCE></ITEM></LIST>"), ISRAEL)
    assert page.items == (xml_codec.IncomingItem("1", None, None, None, None),)
    assert xml_codec.read_incoming(answer("<LIST></LIST>"), ISRAEL).items == ()
    with pytest.raises(Unreadable, match="ID"):
        xml_codec.read_incoming(answer("<LIST><ITEM><SOURCE>1</SOURCE></ITEM></LIST>"), ISRAEL)


@pytest.mark.parametrize(
    "body",
    [
        b"<?xml" * 50_000,
        b"<" + b" " * 250_000,
        b"< " * 125_000,
        b"<a" * 125_000,
        b"<?xml version='1.0' encoding='punycode'?><A>\xff" + b"a" * 250_000,
        b"<?xml version='1.0' encoding='unicode_escape'?><A>\xff\\q</A>",
        b"<?xml version='1.0' encoding='utf-7'?><RESPONSE>\xff+2AA-</RESPONSE>",
    ],
)
def test_no_answer_costs_more_than_a_moment(body: bytes) -> None:
    begun = time.process_time()
    with pytest.raises(MyFaxError):
        xml_codec.read_upload(body)
    assert time.process_time() - begun < 1.0
