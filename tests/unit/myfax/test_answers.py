"""The answers of the five actions, field by field."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from mailbridge.myfax.answers import (
    IncomingItem,
    RegisterAnswer,
    ReleaseAnswer,
    StatusAnswer,
    UploadAnswer,
    read_incoming,
    read_register,
    read_release,
    read_status,
    read_upload,
)
from mailbridge.myfax.status_codes import PENDING, describe, status_outcome
from mailbridge.myfax.xml_parser import Unreadable

ISRAEL = ZoneInfo("Asia/Jerusalem")


def answer(inside: str) -> bytes:
    return f"<RESPONSE><RESPONSE_CODE>0</RESPONSE_CODE>{inside}</RESPONSE>".encode()


@pytest.mark.parametrize("printed", ["true", "TRUE", "True", "1", "yes", " Yes "])
def test_final_status_is_true_in_any_spelling(printed: str) -> None:
    assert read_status(answer(f"<FINAL_STATUS>{printed}</FINAL_STATUS>")).final


@pytest.mark.parametrize("printed", ["false", "0", "no", "", "2", "is status final", "truely"])
def test_final_status_is_false_for_any_other_text(printed: str) -> None:
    assert not read_status(answer(f"<FINAL_STATUS>{printed}</FINAL_STATUS>")).final
    assert not read_status(answer("")).final


def test_an_unknown_fax_status_stays_visible() -> None:
    read = read_status(answer("<FAX_STATUS>42</FAX_STATUS><FINAL_STATUS>true</FINAL_STATUS>"))
    assert (read.status, read.printed_status) == (42, "42")
    assert "42" in describe(read.status)
    read = read_status(answer("<FAX_STATUS> SENT </FAX_STATUS><FINAL_STATUS>true</FINAL_STATUS>"))
    assert (read.status, read.printed_status) == (None, "SENT")
    assert status_outcome(read.status, read.final) == PENDING


def test_an_empty_field_is_none() -> None:
    assert read_upload(answer("<FAX_CODE>  </FAX_CODE><PRICE/>")) == UploadAnswer(0, "")
    assert read_upload(answer("<FAX_PAGES>three</FAX_PAGES>")).pages is None


def test_status_register_and_release_answers_are_read() -> None:
    inside = "<FAX_CODE>c</FAX_CODE><FAX_STATUS>9</FAX_STATUS><FINAL_STATUS>true</FINAL_STATUS>"
    inside += "< PRICE>0.40</ PRICE><CREDIT_LEFT>7</CREDIT_LEFT>"
    assert read_status(answer(inside)) == StatusAnswer(0, "", "c", 9, True, Decimal("0.40"), Decimal(7), "9")
    inside = "<USER_ID> 4711</ USER_ID><USER_FAX_NUMBER>03-9876543 </ USER_FAX_NUMBER><USER_EMAIL>a@b.c</ USER_EMAIL>"
    registered = read_register(answer(inside + "< PRICE>10</ PRICE><EXPIRE>2027-01-01</ EXPIRE>"), ISRAEL)
    expires = datetime(2026, 12, 31, 22, tzinfo=UTC)
    assert registered == RegisterAnswer(0, "", "4711", "03-9876543", "a@b.c", Decimal(10), "2027-01-01", "+97239876543", expires)
    unread = read_register(answer("<USER_FAX_NUMBER>soon</USER_FAX_NUMBER><PRICE>free</PRICE><EXPIRE>never</EXPIRE>"))
    assert unread == RegisterAnswer(0, "", None, "soon", None, None, "never", None, None)
    assert read_release(answer("<RESPONSE_TEXT>OK</RESPONSE_TEXT>")) == ReleaseAnswer(0, "OK")


def test_a_page_of_received_faxes_is_read_with_times_in_the_zone() -> None:
    item = "<ITEM><ID>1-2</ID><TIME>{}</TIME><DID>+9727</DID><SOURCE>08-9999999</SOURCE><URL>https://x/</URL></ITEM>"
    listed = "".join(item.format(printed) for printed in ("2020-12-21 14:19:42.0", "2020-07-21 14:19:42", "yesterday", ""))
    page = read_incoming(answer(f"<LIST>{listed}</LIST><PAGES>2</PAGES><NEXT_PAGE>1</NEXT_PAGE>"), ISRAEL)
    assert (page.pages, page.next_page, len(page.items)) == (2, 1, 4)
    first = page.items[0]
    assert (first.id, first.did, first.source, first.url) == ("1-2", "+9727", "08-9999999", "https://x/")
    assert (first.did_e164, first.source_e164) == (None, "+97289999999")
    times = [item.time and item.time.isoformat() for item in page.items]
    assert times == ["2020-12-21T12:19:42+00:00", "2020-07-21T11:19:42+00:00", None, None]


def test_an_anonymous_caller_is_none_and_an_item_without_an_id_is_unreadable() -> None:
    page = read_incoming(answer("<LIST><ITEM><ID>1</ID><SOURCE> </SOURCE></ITEM></LIST>"), ISRAEL)
    assert page.items == (IncomingItem("1", None, None, None, None),)
    assert read_incoming(answer("<LIST></LIST>"), ISRAEL).items == ()
    with pytest.raises(Unreadable, match="ID"):
        read_incoming(answer("<LIST><ITEM><SOURCE>1</SOURCE></ITEM></LIST>"), ISRAEL)
