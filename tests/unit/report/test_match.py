"""Which fax a report speaks of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailbridge.model import Attempt, Fax, Report
from mailbridge.report.match import Match, match
from tests import factories

NOW = datetime(2026, 1, 4, 9, tzinfo=UTC)
CODE = "3cf6c2ae-1111-2222-3333-444455556666"


def a_fax(name: str, token: str = "MB-7K3QXA2M", **changes: Any) -> Fax:
    attempts = (Attempt(n=1, started_at=NOW),)
    return factories.a_fax(NOW, **{"id": name, "token": token, "state": "submitted", "attempts": attempts, **changes})


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
        (a_report(text="to 03-9876543 3 pages"), Match("one", "destination")),
        (a_report(text="to 03 987 6543"), Match("one", "destination")),
        (a_report(text="03-9876543 08-9999999; 03-9876543"), None),
        (a_report(text=f"{CODE} and other-code"), None),
        (a_report(text=f"{CODE}.1"), None),
        (a_report(text=f"a/{CODE}"), None),
        (a_report(), None),
    ],
)
def test_a_report_matches_its_fax_or_none(report: Report, expected: Match | None) -> None:
    assert match(report, [ONE, TWO]) == expected


def test_two_faxes_to_one_number_match_neither() -> None:
    report = a_report(text="fax to 03-9876543")
    assert match(report, [ONE, a_fax("three", "MB-00000002")]) is None
    assert match(report, [ONE, a_fax("three", "MB-00000002", state="delivered")]) is None


def test_a_token_outweighs_a_number() -> None:
    assert match(a_report("MB-00000001 to 03-9876543"), [ONE, TWO]) == Match("two", "token")


def test_a_short_fax_code_is_ignored() -> None:
    assert match(a_report(text="on 2026"), [a_fax("one", fax_code="2026")]) is None


def test_a_telephone_number_does_not_match_a_fax_code_of_digits() -> None:
    assert match(a_report(text="call 036926484 for help"), [a_fax("one", fax_code="036926484", number="+97289999999")]) is None


# What may stand in a report: marks of three faxes of ours, of faxes that are not ours, and noise.
FAXES = [
    a_fax("a", "MB-AAAAAAA1", number="+97231111111", fax_code="0a000001-1111-2222-3333-444455556666"),
    a_fax("b", "MB-AAAAAAA2", number="+97231111112", fax_code="0a000002-1111-2222-3333-444455556666"),
    a_fax("c", "MB-1AAAAAAA", number="+97231111113", fax_code="job_c_000003", state="delivered"),
]
PRINTED = {"a": ["03-1111111", "+972 3-111-1111"], "b": ["031111112", "972-3-1111112"], "c": ["(03) 1111113", "03-111-1113"]}
MARKS = (
    [("token", fax.id, form) for fax in FAXES for form in (fax.token, fax.token.lower(), f"invoice {fax.token}.pdf")]
    + [("code", fax.id, form) for fax in FAXES for form in (str(fax.fax_code), str(fax.fax_code).upper())]
    + [("number", name, form) for name, forms in PRINTED.items() for form in forms]
    + [("token", "", "MB-ZZZZZZZ1"), ("code", "", "ffffffff-1111-2222-3333-444455556666"), ("number", "", "08-7654321")]
    + [
        ("noise", "", word)
        for word in ("MB-", "MB-AAAA", "page 2", "2026-01-04 09:00", "1111111", "*1234", "פקס", "0a000001", "job_c")
    ]
)
APART = ["\n", "; ", ", ", " | ", " to "]
GLUE = ["", "-", "_", ".", " ", "1", "A", "/"]


@st.composite
def soups(draw: st.DrawFn, between: list[str]) -> tuple[str, set[tuple[str, str]]]:
    marks = draw(st.lists(st.sampled_from(MARKS), max_size=6))
    text = "".join(form + draw(st.sampled_from(between)) for _, _, form in marks)
    return text, {(kind, name) for kind, name, _ in marks}


@settings(max_examples=500)
@given(soups(APART), st.permutations(FAXES), st.booleans())
def test_an_ambiguous_or_foreign_identifier_matches_nothing(
    soup: tuple[str, set[tuple[str, str]]], faxes: list[Fax], in_subject: bool
) -> None:
    """Whatever names two faxes, or one that is not ours, matches none; a lower mark never outvotes a higher one."""
    text, marks = soup
    found = match(a_report(text, "") if in_subject else a_report("", text), faxes)
    named = {kind: {name for mark, name in marks if mark == kind} for kind in ("token", "code", "number")}
    how, names = "destination", named["number"] - {""}
    if named["token"]:
        how, names = "token", named["token"]
    elif named["code"]:  # one that is not ours may stand beside ours, as the message's own id
        how, names = "fax_code", named["code"] - {""}
    [only] = names if len(names) == 1 else [""]
    assert found == (Match(only, how) if only else None)  # type: ignore[arg-type]


@settings(max_examples=500)
@given(soups(GLUE + APART), st.permutations(FAXES))
def test_identifiers_that_run_into_one_another_match_no_other_fax(
    soup: tuple[str, set[tuple[str, str]]], faxes: list[Fax]
) -> None:
    text, marks = soup
    found = match(a_report("", text), faxes)
    kind = {"token": "token", "fax_code": "code", "destination": "number"}
    assert found is None or (kind[found.how], found.fax_id) in marks


@given(st.text(max_size=300), st.text(max_size=300))
def test_text_without_an_identifier_matches_nothing(subject: str, text: str) -> None:
    assert match(a_report(subject, text), FAXES) is None


@given(st.integers(-5 * 24 * 60, 5 * 24 * 60), st.integers(-5 * 24 * 60, 5 * 24 * 60))
def test_a_destination_matches_only_within_a_day_of_the_upload(minutes: int, begun: int) -> None:
    fax = a_fax("one", attempts=(Attempt(n=1, started_at=NOW + timedelta(minutes=begun)),))
    found = match(a_report(text="to 03-9876543", date=NOW + timedelta(minutes=minutes)), [fax])
    assert (found is not None) == (-2 <= minutes - begun <= 24 * 60)
