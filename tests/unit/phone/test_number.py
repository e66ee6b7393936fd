"""One number has one form and one verdict, however it is written, and a number that is not whole is refused."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import example, given, strategies

from mailbridge.phone.number import NumberFault, parse_number
from tests.wait_helpers import PATIENCE

SEPARATED = strategies.lists(strategies.sampled_from(["", "", "", "-", " ", ".", " - ", "(", ")"]), min_size=24, max_size=24)


def verdict(written: str, *, possible: bool = False) -> str | None:
    try:
        return parse_number(written, "IL", possible=possible)
    except NumberFault:
        return None


def separated(digits: str, between: list[str]) -> str:
    return digits[:1] + "".join(sign + digit for digit, sign in zip(digits[1:], between, strict=False))


def spellings(national: str) -> list[str]:
    """Every way to dial a number whose digits behind +972 are `national`."""
    whole = f"972{national}"
    if national.startswith("1"):
        return [national, f"+{whole}", whole, f"00{whole}"]
    return [f"0{national}", f"+{whole}", whole, f"00{whole}", f"+9720{national}", f"9720{national}", f"+972 (0){national}"]


@given(strategies.from_regex(r"[1-9][0-9]{0,13}", fullmatch=True), SEPARATED)
@example("39876543", [""] * 24)
@example("1700123456", [""] * 24)
@example("12121234", [""] * 24)
@example("212555012", [""] * 24)
def test_no_two_spellings_of_a_number_have_different_verdicts(national: str, between: list[str]) -> None:
    assert {verdict(separated(spelling, between)) for spelling in spellings(national)} in ({None}, {f"+972{national}"})


LINES = strategies.one_of(
    strategies.from_regex(r"0[23489][0-9]{7}", fullmatch=True),
    strategies.from_regex(r"0[57][0-9]{8}", fullmatch=True),
    strategies.from_regex(r"1(700|800|599)[0-9]{6}", fullmatch=True),
    strategies.from_regex(r"153[23489][0-9]{7}", fullmatch=True),
)


@given(LINES, strategies.data())
def test_a_number_with_a_digit_too_few_or_too_many_is_not_another_number(dialled: str, data: strategies.DataObject) -> None:
    assert verdict(dialled) == f"+972{dialled.removeprefix('0')}"
    # A digit more or less inside the code can make another code, which nobody can see.
    code = 4 if dialled.startswith("1") else 3 if dialled[1] in "57" else 2
    at = data.draw(strategies.integers(code, len(dialled) - 1))
    assert verdict(dialled[:at] + dialled[at + 1 :]) is None
    assert verdict(dialled[:at] + data.draw(strategies.sampled_from("0123456789")) + dialled[at:]) is None
    assert verdict(dialled[1:]) is None


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("03-987654", "too short: 7 digits must follow 03, and there are 6"),
        ("03-98765432", "too long: 7 digits must follow 03, and there are 8"),
        ("+972-3-987654", "too short"),
        ("9876543", "the area code is missing"),
        ("212-555-0123", "neither 0 nor 1"),
        ("39876543", "the leading 0 is missing"),
        ("972", "not complete"),
        ("100", "begins with 100"),
        ("+97239876543,,1", "dialling signs"),
        ("03-9876543/T33S=1", "subaddresses"),
        ("office", "this is not a fax number"),
        ("", "this is not a fax number"),
        ("+1 212 555 012", "too short"),
        ("+1 212 555 01234", "too long"),
        ("+1 555 0123", "the area code is missing"),
        ("+1 000 555 0123", "no such number"),
        ("+999 39876543", "complete"),
    ],
)
def test_the_fault_is_named(written: str, words: str) -> None:
    with pytest.raises(NumberFault) as raised:
        parse_number(written, "IL")
    assert words in str(raised.value)


def test_numbers_abroad_are_those_that_libphonenumber_has() -> None:
    assert parse_number("+1 212 555 0123", "IL") == "+12125550123"
    assert parse_number("001 212 555 0123", "IL") == "+12125550123"
    assert parse_number("212 555 0123", "US") == "+12125550123"
    assert parse_number("1 212 555 0123", "US") == "+12125550123"
    assert parse_number("020 7946 0018", "GB") == "+442079460018"
    with pytest.raises(NumberFault, match="the area code is missing"):
        parse_number("555 0123", "US")
    # The plan of Israel is that of +972, wherever the gateway stands.
    assert parse_number("+972 3 9876543", "US") == "+97239876543"
    with pytest.raises(NumberFault, match="too short"):
        parse_number("+972 3 987654", "US")


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("03-987654", "+9723987654"),
        ("03-98765432", "+972398765432"),
        ("9876543", "+9729876543"),
        ("39876543", "+97239876543"),
        ("06-1234567", "+97261234567"),
        ("1255123", "+9721255123"),
        ("100", None),
        ("03-9876543,,12", None),
    ],
)
def test_with_possible_the_length_alone_counts(written: str, number: str | None) -> None:
    assert verdict(written, possible=True) == number


def test_once_the_plans_are_loaded_nothing_more_is_imported() -> None:
    """An import that failed, for lack of file descriptors, would leave phonenumbers' lock locked for ever."""
    program = (
        "import sys\n"
        "from mailbridge.phone.number import load_plans, parse_number\n"
        "from mailbridge.submission.policy import check_number\n"
        "load_plans()\n"
        "loaded = set(sys.modules)\n"
        "for number in ('+8801712345678', '+442079460018', '+97239876543', '+12125550123', '+80012345678', '+39876543210'):\n"
        "    check_number(parse_number(number, 'IL', possible=True), ['+'], ['premium', 'short'])\n"
        "print(*{name for name in set(sys.modules) - loaded if name.startswith('phonenumbers')})\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout.split() == []
