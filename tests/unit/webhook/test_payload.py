"""The body has the names of the contract, and never a path of the spool."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest

from mailbridge.model import Attempt, Event, Failure
from mailbridge.webhook.payload import body, fax_data
from tests.factories import a_fax

AT = datetime(2026, 1, 4, 9, 12, 44, 999, tzinfo=UTC)
STORED = {"path": "received/aa/x", "sha256": "ab", "size": 3, "content_type": "application/pdf", "filename": "a.pdf", "pages": 1}


def test_a_failed_fax_has_the_data_of_the_contract() -> None:
    fax = a_fax(
        AT,
        id="fax_1",
        state="failed",
        seq=4,
        pages=3,
        fax_code="3cf6",
        attempts=(Attempt(n=1, started_at=AT, ended_at=AT, fax_code="3cf6", error_code="busy"),),
        failure=Failure(code="busy", message="the line was busy", provider_code=3),
        price="0.40",
        source="poll",
    )
    assert fax_data(fax) == {
        "fax_id": "fax_1",
        "seq": 4,
        "direction": "outbound",
        "account": "office",
        "to": "+97239876543",
        "from": None,
        "status": "failed",
        "pages": 3,
        "fax_code": "3cf6",
        "error": {"code": "busy", "provider_code": 3, "message": "the line was busy"},
        "attempts": [
            {
                "n": 1,
                "fax_code": "3cf6",
                "started_at": "2026-01-04T09:12:44.000Z",
                "ended_at": "2026-01-04T09:12:44.000Z",
                "error_code": "busy",
            }
        ],
        "delivered_at": None,
        "price": "0.40",
        "currency": None,
        "credit_left": None,
        "source": "poll",
        "email": {"message_id": "<1@x>", "envelope_id": None, "sender": "dana@example.co.il", "subject": "שלום"},
        "report": None,
        "tags": {"case": "17"},
        "user": None,
        "client": None,
        "repeat_of": None,
        "document_sha256": [document.sha256 for document in fax.documents],
        "document": None,
    }


def test_a_delivered_fax_has_the_time_of_its_delivery_in_milliseconds() -> None:
    delivered = fax_data(a_fax(AT, state="delivered", final_at=AT + timedelta(milliseconds=1234), price="0.40", currency="ILS"))
    assert delivered["delivered_at"] == "2026-01-04T09:12:45.234Z"
    assert (delivered["price"], delivered["currency"]) == ("0.40", "ILS")
    assert fax_data(a_fax(AT, state="cancelled", final_at=AT))["delivered_at"] is None


def rendered(document: Literal["none", "link", "inline"], inline_limit: int = 10, gone: bool = False) -> Any:
    def read(path: str) -> bytes:
        if gone:
            raise FileNotFoundError(path)
        return b"pdf"

    event = Event(id="evt_1", type="fax.received", at=AT, fax_id=None, seq=0, data={"document": STORED})
    content = body(event, document, link=lambda _: ("https://fax.example/documents/t", AT), read=read, inline_limit=inline_limit)
    assert b"received/aa" not in content
    return json.loads(content)["data"]["document"]


def test_a_received_document_is_sent_in_the_form_that_the_endpoint_asks_for() -> None:
    assert rendered("none") is None
    assert rendered("link")["url"] == "https://fax.example/documents/t"
    assert rendered("link")["expires_at"] == "2026-01-04T09:12:44.000Z"
    assert (rendered("inline")["content"], rendered("inline")["size"]) == ("cGRm", 3)


@pytest.mark.parametrize(
    ("limit", "gone", "key", "value"), [(2, False, "url", "https://fax.example/documents/t"), (10, True, "content", None)]
)
def test_a_large_or_deleted_document_is_not_sent_inline(limit: int, gone: bool, key: str, value: str | None) -> None:
    assert rendered("inline", limit, gone)[key] == value
