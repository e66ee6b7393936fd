"""Recipients: every spelling of a number that people use, one canonical form, and nothing that dials otherwise."""

from __future__ import annotations

import pytest

from mailbridge.errors import Refused
from mailbridge.submission.address import parse_recipient

DOMAINS = ("fax.local", "myfax.co.il")


@pytest.mark.parametrize(
    "local",
    [
        "03-9876543",
        "0398765 43",
        "03.987.6543",
        "(03) 987-6543",
        '"03 987 6543"',
        '"03\\-9876543"',
        "+97239876543",
        "+972-3-9876543",
        "+972 (0)3-9876543",
        "97239876543",
        "0097239876543",
        "FAX=+97239876543",
        "fax=+972-3-987-6543",
    ],
)
def test_one_number_in_many_spellings(local: str) -> None:
    assert parse_recipient(f"{local}@fax.local", DOMAINS, "IL") == "+97239876543"


def test_other_numbers() -> None:
    assert parse_recipient("050-1234567@MyFax.co.il", DOMAINS, "IL") == "+972501234567"
    assert parse_recipient("+12125551234@fax.local", DOMAINS, "IL") == "+12125551234"
    assert parse_recipient("2125551234@fax.local", DOMAINS, "US") == "+12125551234"


@pytest.mark.parametrize(
    "local",
    [
        "",
        "+",
        "()",
        '""',
        "office",
        "100",
        "911",
        "112",
        "*1234",
        "#31#039876543",
        "03-9876543,,12",
        "03-9876543;ext=5",
        "03-9876543x5",
        "٠٣٩٨٧٦٥٤٣",
        "０３９８７６５４３",
        "03-9876543\x00",
        "03-9876543\n",
        "+9720039876543",
        "+" + "9" * 30,
        "1" * 300,
        "039876543%gmail.com",
        "gmail.com!039876543",
        "VOICE=+97239876543",
    ],
)
def test_what_is_no_number(local: str) -> None:
    with pytest.raises(Refused, match=r"^550 5\.1\.3 "):
        parse_recipient(f"{local}@fax.local", DOMAINS, "IL")


def test_a_subaddress_is_refused_in_words() -> None:
    with pytest.raises(Refused, match=r"^550 5\.1\.3 .*T33S"):
        parse_recipient("FAX=+97239876543/T33S=12@fax.local", DOMAINS, "IL")


@pytest.mark.parametrize("address", ["039876543@gmail.com", "039876543", "039876543@", "039876543@fax.local@gmail.com", ""])
def test_nothing_is_relayed(address: str) -> None:
    with pytest.raises(Refused, match=r"^550 5\.1\.2 "):
        parse_recipient(address, DOMAINS, "IL")
