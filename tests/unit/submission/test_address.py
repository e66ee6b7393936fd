"""Recipients: every spelling of a number that people use, one canonical form, and nothing that dials otherwise."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies

from mailbridge.errors import Refused
from mailbridge.phone.contacts import Directory, build
from mailbridge.submission.address import find_numbers, parse_recipient

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
        "IMCEAFAX-+2B972-3-9876543",
        "IMCEAFAX-03-9876543",
        "imceafax-+2b97239876543",
        "IMCEAFAX-Clalit+40+2B97239876543",
        "IMCEAFAX-Dana+40+2B972+20+283+29+209876543",
        "IMCEAFAX-Dana+20Levi_2+20+40+20home+40+2B972+20+283+29+209876543",
        "IMCEAFAX-+D7+A9+D7+9C+40+2B97239876543",
        "IMCEAFAX-9876543+20+7C+20+2B972+20+283+29+209876543",
        "IMCEAFAX-9876543+20+7C+20Dana+40+20+2B972+20+283+29+209876543",
        "IMCEAFAX-+2B97239876543+20+7C+20",
        '"IMCEAFAX-+2B97239876543"',
    ],
)
def test_one_number_in_many_spellings(local: str) -> None:
    assert parse_recipient(f"{local}@fax.local", DOMAINS, "IL") == "+97239876543"


def test_recipient_with_a_mobile_or_foreign_number_is_parsed() -> None:
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
        "03-987654",
        "03-98765432",
        "9876543",
        "212-555-0123",
        "IMCEAFAX-",
        "IMCEAFAX-Dana+40",
        "IMCEAFAX-9876543",
        "IMCEAFAX-+97239876543",
        "IMCEAFAX-+2B97239876543+7C+2C+2C+2C567",
        "IMCEAFAX-03-98765+7C43",
        "IMCEAFAX-9876543+7C+2B97239876543+7C546",
        "IMCEAFAX-+2B97239876543_T33S+3D12",
        "IMCEAEX-+2B97239876543",
    ],
)
def test_recipient_without_a_valid_number_is_refused(local: str) -> None:
    with pytest.raises(Refused, match=r"^550 5\.1\.3 "):
        parse_recipient(f"{local}@fax.local", DOMAINS, "IL")


def outlook(text: str) -> str:
    """Encode as MS-OXCMAIL 2.1.3.1.8 does."""
    kept = {ord(sign): sign for sign in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-="} | {ord("/"): "_"}
    return "IMCEAFAX-" + "".join(kept.get(byte, f"+{byte:02X}") for byte in text.encode())


def verdict(local: str) -> str:
    try:
        return parse_recipient(f"{local}@fax.local", DOMAINS, "IL")
    except Refused:
        return "refused"


@given(strategies.from_regex(r"\+?[0-9][0-9 .()-]{1,16}[0-9]", fullmatch=True), strategies.text("Dana @/+שלום", max_size=9))
def test_what_is_put_around_a_number_does_not_change_the_verdict(written: str, name: str) -> None:
    around = [written, f'"{written}"', f"FAX={written}", f'"FAX={written}"', outlook(written), outlook(f"{name}@{written}")]
    assert len({verdict(local) for local in around}) == 1


@given(strategies.text(max_size=30))
def test_any_local_part_is_a_number_or_refused(local: str) -> None:
    assert verdict(local) == "refused" or verdict(local).startswith("+")
    assert verdict(f"IMCEAFAX-{local}") == "refused" or verdict(f"IMCEAFAX-{local}").startswith("+")


def test_the_refusal_says_what_is_wrong_and_what_to_write() -> None:
    with pytest.raises(Refused) as refused:
        parse_recipient("03-987654@fax.local", DOMAINS, "IL")
    words = "The number is too short: 7 digits must follow 03, and there are 6; write it like 03-9876543 or +97239876543"
    assert refused.value.reply == f"550 5.1.3 {words}"


def test_numbers_that_are_only_possible_are_taken_where_the_configuration_says_so() -> None:
    assert parse_recipient("03-98765432@fax.local", DOMAINS, "IL", possible=True) == "+972398765432"


def test_a_subaddress_is_refused_in_words() -> None:
    with pytest.raises(Refused, match=r"^550 5\.1\.3 .*T33S"):
        parse_recipient("FAX=+97239876543/T33S=12@fax.local", DOMAINS, "IL")


@pytest.mark.parametrize("address", ["039876543@gmail.com", "039876543", "039876543@", "039876543@fax.local@gmail.com", ""])
def test_recipient_in_another_domain_is_refused(address: str) -> None:
    with pytest.raises(Refused, match=r"^550 5\.1\.2 "):
        parse_recipient(address, DOMAINS, "IL")


CONTACTS, _ = build(
    {"leumi": "03-9876543", "hapoalim": "03-9876544", "banks": ["leumi", "hapoalim"], 'בי"ח כרמל': "04-8765432"}, "IL"
)


@pytest.mark.parametrize(
    ("local", "numbers"),
    [
        ("leumi", ("+97239876543",)),
        ("Leumi", ("+97239876543",)),
        ('"leumi"', ("+97239876543",)),
        ("banks", ("+97239876543", "+97239876544")),
        ("ביח-כרמל", ("+97248765432",)),
        ('"בי\\"ח כרמל"', ("+97248765432",)),
        ("03-9876545", ("+97239876545",)),
        ("FAX=+97239876545", ("+97239876545",)),
        ("IMCEAFAX-leumi+40+2B97239876545", ("+97239876545",)),
    ],
)
def test_a_contact_or_a_number(local: str, numbers: tuple[str, ...]) -> None:
    assert find_numbers(f"{local}@fax.local", DOMAINS, "IL", CONTACTS) == numbers


@pytest.mark.parametrize(
    ("local", "reply"),
    [
        ("leumy", "550 5.1.1 No contact here has the name leumy; did you mean leumi?"),
        ("bank-leumi", "550 5.1.1 No contact here has the name bank-leumi; did you mean leumi?"),
        ("xyz", "550 5.1.1 No contact here has the name xyz; write its number, such as 03-9876543"),
        ("03-987654", "550 5.1.3 The number is too short"),
        ("FAX=leumi", "550 5.1.3 This is not a fax number"),
        ("*leumi", "550 5.1.3 Star codes"),
    ],
)
def test_an_unknown_contact_is_refused_with_the_nearest(local: str, reply: str) -> None:
    with pytest.raises(Refused) as refused:
        find_numbers(f"{local}@fax.local", DOMAINS, "IL", CONTACTS)
    assert refused.value.reply.startswith(reply)


def test_a_contact_is_one_of_the_gateways_domains_alone() -> None:
    with pytest.raises(Refused, match=r"^550 5\.1\.2 "):
        find_numbers("leumi@gmail.com", DOMAINS, "IL", CONTACTS)


def test_without_contacts_a_name_is_not_a_number() -> None:
    with pytest.raises(Refused, match=r"^550 5\.1\.3 This is not a fax number"):
        find_numbers("leumi@fax.local", DOMAINS, "IL", Directory())
