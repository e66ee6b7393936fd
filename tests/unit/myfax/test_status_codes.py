"""MyFax's status codes: what each means by `faxStatus.do` and in a report mail."""

from __future__ import annotations

from typing import get_args

import pytest

from mailbridge.errors import ErrorCode
from mailbridge.myfax.status_codes import DELIVERED, PENDING, Outcome, describe, report_outcome, status_outcome


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
def test_fax_status_is_an_outcome_only_when_final(code: int | None, final: bool, outcome: Outcome) -> None:
    assert status_outcome(code, final) == outcome


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
def test_x_fax_status_code_has_its_own_outcomes(status: str | None, code: int | None, outcome: object) -> None:
    assert report_outcome(status, code) == outcome


def test_every_code_has_a_description_and_an_unknown_one_shows_its_number() -> None:
    sentences = [describe(code) for code in (0, 1, 2, 3, 4, 6, 7, 9, 10)]
    assert len(set(sentences)) == len(sentences)
    assert "42" in describe(42)
    assert describe(None)
    assert all(status_outcome(code, True).error in (None, *get_args(ErrorCode)) for code in range(-5, 50))
