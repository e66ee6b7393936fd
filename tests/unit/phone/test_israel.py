"""Israel's plan: every range has its length, and what is wrong with a number is said."""

from __future__ import annotations

import phonenumbers
import pytest

from mailbridge.phone.israel import PLAN, Range, is_premium, local_fault, plan_fault

VALID = [
    *("39876543", "21234567", "48765432", "86543210", "97654321"),
    *("501234567", "559999999", "721234567", "772345678"),
    *("15339876543", "153501234567", "153772345678"),
    *("1700123456", "1800123456", "1801123456", "1809123456", "1599123456"),
    *("1900123456", "1901123456", "1902123456", "1919123456", "1990123456", "1200123456", "12121234"),
]
PREMIUM = {"1900123456", "1901123456", "1902123456", "1919123456", "1990123456", "1200123456", "12121234"}


def digits_of(row: Range) -> str:
    """The first number of a range, as the digits behind +972."""
    dialled = row.code.replace("-", "").replace("x", "0") + "1" * row.digits
    return dialled.removeprefix("0")


@pytest.mark.parametrize("national", VALID)
def test_a_number_of_the_plan(national: str) -> None:
    assert plan_fault(national) is None
    assert is_premium(national) == (national in PREMIUM)


@pytest.mark.parametrize("row", PLAN, ids=lambda row: row.code)
def test_a_digit_too_few_or_too_many(row: Range) -> None:
    national = digits_of(row)
    assert plan_fault(national) is None
    assert "too short" in (plan_fault(national[:-1]) or "")
    assert "too long" in (plan_fault(national + "1") or "")


def test_no_range_hides_another() -> None:
    codes = [row.code.replace("-", "").replace("x", "") for row in PLAN]
    assert not [(one, other) for one in codes for other in codes if one is not other and other.startswith(one)]


def test_the_plan_has_what_libphonenumber_calls_valid() -> None:
    """Of each kind that can have a fax machine. It has more: whole areas, whose ranges libphonenumber learns one by one."""
    kinds = phonenumbers.PhoneNumberType
    no_machine = {kinds.VOICEMAIL}
    for kind in phonenumbers.supported_types_for_region("IL") - no_machine:
        example = phonenumbers.example_number_for_type("IL", kind)
        assert example is not None, kind
        assert plan_fault(phonenumbers.national_significant_number(example)) is None, kind


@pytest.mark.parametrize(
    ("national", "fault"),
    [
        ("3987654", "the number is too short: 7 digits must follow 03, and there are 6"),
        ("398765432", "the number is too long: 7 digits must follow 03, and there are 8"),
        ("50123456", "the number is too short: 7 digits must follow 050, and there are 6"),
        ("170012345", "the number is too short: 6 digits must follow 1700, and there are 5"),
        ("61234567", "no fax number in Israel begins with 06"),
        ("100", "no fax number in Israel begins with 100"),
        ("1201", "no fax number in Israel begins with 1201"),
        ("1255123", "no fax number in Israel begins with 1255"),
        ("15139876543", "no fax number in Israel begins with 1513"),
        ("039876543", "no fax number in Israel begins with 00"),
        ("", "no fax number in Israel begins with 0"),
    ],
)
def test_what_is_wrong_is_said(national: str, fault: str) -> None:
    assert plan_fault(national) == fault


@pytest.mark.parametrize(
    ("dialled", "fault"),
    [
        ("039876543", None),
        ("1700123456", None),
        ("9876543", "the area code is missing"),
        ("987654", "the area code is missing"),
        ("911", "the number is too short"),
        ("39876543", "the leading 0 is missing"),
        ("501234567", "the leading 0 is missing"),
        ("2125550123", "the number begins with neither 0 nor 1, as numbers in Israel do, nor with + and a country code"),
    ],
)
def test_what_is_missing_in_front_is_said(dialled: str, fault: str | None) -> None:
    assert local_fault(dialled) == fault


def test_a_premium_number_stays_one_with_digits_behind_it() -> None:
    assert is_premium("1900123456789")
    assert not is_premium("39876543")
    assert not is_premium("6")
