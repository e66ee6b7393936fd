"""Which fax a report speaks of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mailbridge.model import Attempt, Fax, Report
from mailbridge.report.match import Match, match

NOW = datetime(2026, 1, 4, 9, tzinfo=UTC)
CODE = "3cf6c2ae-1111-2222-3333-444455556666"


def a_fax(name: str, token: str = "MB-7K3QXA2M", **changes: Any) -> Fax:
    plain: dict[str, Any] = {
        "id": name,
        "envelope_id": None,
        "account": "office",
        "number": "+97239876543",
        "state": "submitted",
        "token": token,
        "documents": (),
        "created_at": NOW,
        "due_at": NOW,
        "expires_at": NOW,
        "attempts": (Attempt(n=1, started_at=NOW),),
    }
    return Fax(**{**plain, **changes})


def a_report(subject: str = "", text: str = "", date: datetime | None = NOW) -> Report:
    return Report(kind="report", status="Success", status_code=9, subject=subject, text=text, date=date)


ONE, TWO = a_fax("one", fax_code=CODE), a_fax("two", "MB-00000001", number="+97289999999", fax_code="other-code")


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (a_report("invoice MB-7K3QXA2M.pdf"), Match("one", "token")),
        (a_report(text="sent: invoice_mb-7k3qxa2m.pdf"), Match("one", "token")),
        (a_report("MB-7K3QXA2M MB-00000001"), None),
        (a_report("MB-ZZZZZZZZ to 03-9876543"), None),
        (a_report("XMB-7K3QXA2M9"), None),
        (a_report(text=f"code={CODE.upper()}."), Match("one", "fax_code")),
        (a_report(text=f"{CODE}7"), None),
        (a_report(text="ffffffff-1111-2222-3333-444455556666 to 03-9876543"), None),
        (a_report(text="fax to 03-9876543 was sent"), Match("one", "destination")),
        (a_report(text="fax to +972 8-999-9999"), Match("two", "destination")),
        (a_report(text="03-9876543 08-9999999"), None),
        (a_report(text="03-9876543", date=None), None),
        (a_report(text="03-9876543", date=NOW - timedelta(hours=1)), None),
        (a_report(text="03-9876543", date=NOW + timedelta(days=2)), None),
        (a_report(text="03-98765431234567890123"), None),
        (a_report(), None),
    ],
)
def test_a_report_finds_its_fax_or_none(report: Report, expected: Match | None) -> None:
    assert match(report, [ONE, TWO]) == expected


def test_two_faxes_to_one_number_are_not_told_apart() -> None:
    report = a_report(text="fax to 03-9876543")
    assert match(report, [ONE, a_fax("three", "MB-00000002")]) is None
    assert match(report, [ONE, a_fax("three", "MB-00000002", state="delivered")]) is None


def test_a_token_outweighs_a_number() -> None:
    assert match(a_report("MB-00000001 to 03-9876543"), [ONE, TWO]) == Match("two", "token")


def test_a_short_code_is_not_looked_for() -> None:
    assert match(a_report(text="on 2026"), [a_fax("one", fax_code="2026")]) is None
