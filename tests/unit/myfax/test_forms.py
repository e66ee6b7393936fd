"""The forms of the five actions: the documented parameter names, and times in the zone of the service."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from mailbridge.myfax.forms import distributor_form, incoming_form, send_form, status_form

ISRAEL = ZoneInfo("Asia/Jerusalem")
PLAIN_FORM = {"email": "a@b.c", "password": "pw"}


def test_forms_have_the_documented_names() -> None:
    assert send_form("a@b.c", "pw", "03-1234567") == {**PLAIN_FORM, "faxNumber": "03-1234567", "resultType": "XML"}
    assert send_form("a@b.c", "pw", "1", "https://x/y.pdf")["fileURL"] == "https://x/y.pdf"
    assert status_form("a@b.c", "pw", "code") == {**PLAIN_FORM, "faxCode": "code"}
    whole_page = {**PLAIN_FORM, "p": "2", "listType": "voice"}
    assert incoming_form("a@b.c", "pw", 2, "voice", None, None, ISRAEL) == whole_page
    distributor = {"distEmail": "a@b.c", "distPassword": "pw", "resultType": "XML"}
    fields = {"email": "new@b.c", "fullName": None}
    assert distributor_form("a@b.c", "pw", fields) == {**distributor, "email": "new@b.c"}


def test_start_and_end_dates_are_in_the_zone_of_the_service() -> None:
    start, end = datetime(2026, 1, 4, 22, 30, tzinfo=UTC), datetime(2026, 7, 4, 22, 30, 59, tzinfo=UTC)
    form = incoming_form("a@b.c", "pw", 0, "incoming", start, end, ISRAEL)
    assert (form["startDate"], form["endDate"]) == ("2026-01-05 00:30:00", "2026-07-05 01:30:59")
