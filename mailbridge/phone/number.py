"""What a person writes as a fax number becomes its canonical form in E.164, such as `+97239876543`. Pure."""

from __future__ import annotations

import re
from functools import lru_cache

import phonenumbers
from phonenumbers import ValidationResult

from mailbridge.errors import MailbridgeError
from mailbridge.phone.israel import local_fault, plan_fault

# ASCII digits alone: Unicode has others that int() and phonenumbers read, and two spellings of a number defeat every rule on it.
_NUMBER = re.compile(r"\+?[ .()\-]*[0-9][0-9 .()\-]*", re.ASCII)
_DIALLED = set("*#,;")
_LONGEST = 40
_E164 = phonenumbers.PhoneNumberFormat.E164
_ISRAEL = 972
# The 0 in front of an area code is not dialled from abroad, but often written: +972 (0)3-9876543.
_FROM_ABROAD = re.compile(r"\+972(?:0(?=[2-9]))?([0-9]{3,})")
_IN_ISRAEL = re.compile(r"(?:00972(?:0(?=[2-9]))?|0(?=[2-9])|(?=1))([0-9]{3,})")
_EXAMPLE = "write it like 03-9876543 or +97239876543"
_ALONE = "write the number alone"
_FAULTS = {
    ValidationResult.TOO_SHORT: "the number is too short",
    ValidationResult.TOO_LONG: "the number is too long",
    ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "the area code is missing",
    ValidationResult.INVALID_COUNTRY_CODE: "no country has this country code",
}


class NumberFault(MailbridgeError):
    """A text that is not a fax number: `fault` says what is wrong with it and `remedy` what to write."""

    def __init__(self, fault: str, remedy: str = _EXAMPLE) -> None:
        self.fault, self.remedy = fault, remedy
        super().__init__(f"{fault}; {remedy}")


def load_plans() -> None:
    """Load the numbering plans of all countries; takes about 0.2 s and 3 MB.

    phonenumbers imports a country's plan when it first sees one of its numbers. It does so under a lock that stays locked if the
    import fails, as for lack of file descriptors, and every later number waits for ever. So a daemon loads all before it listens.
    """
    phonenumbers.PhoneMetadata.load_all()
    for region in phonenumbers.SUPPORTED_SHORT_REGIONS:
        phonenumbers.PhoneMetadata.short_metadata_for_region(region)


@lru_cache(maxsize=4096)
def parse_number(text: str, region: str, *, possible: bool = False) -> str:
    """Return a fax number in E.164; without a country code it is one of `region`. Raises NumberFault.

    Takes spaces, dots, hyphens and brackets between digits. A number of Israel must be in Israel's numbering plan, and any other
    must be valid by libphonenumber. With `possible` a number only has to have a length that occurs in its country.
    """
    written = text.strip(" ")
    _check_signs(written)
    dialled = _international(written, region, possible)
    if not possible and (national := _israeli(dialled, region)) is not None:
        if fault := plan_fault(national):
            raise NumberFault(fault)
        return f"+{_ISRAEL}{national}"
    return _by_library(dialled, region, possible)


def _check_signs(written: str) -> None:
    if "/" in written:
        raise NumberFault("subaddresses such as /T33S= cannot be faxed to", _ALONE)
    if _DIALLED & set(written):
        raise NumberFault("star codes, extensions and dialling signs (* # , ;) cannot be faxed to", _ALONE)
    if len(written) > _LONGEST or not _NUMBER.fullmatch(written):
        raise NumberFault("this is not a fax number")


def _international(written: str, region: str, possible: bool) -> str:
    """Return the digits, with a plus before those that begin with the region's own country code, as `972…` does."""
    digits = re.sub(r"[^0-9]", "", written)
    code = str(phonenumbers.country_code_for_region(region))
    # In Israel no number begins with 9 when it is dialled. Elsewhere a local number may begin with the country code's digits.
    least = 1 if region == "IL" and not possible else len(code) + 8
    bare = not written.startswith("+") and digits.startswith(code) and len(digits) >= least
    return f"+{digits}" if bare or written.startswith("+") else digits


def _israeli(dialled: str, region: str) -> str | None:
    """Return the digits behind +972 of a number that is plainly one of Israel's, None for any other. Raises NumberFault."""
    if region == "IL" and not dialled.startswith(("+", "00")) and (fault := local_fault(dialled)):
        raise NumberFault(fault)
    found = _FROM_ABROAD.fullmatch(dialled) or (_IN_ISRAEL.fullmatch(dialled) if region == "IL" else None)
    return found[1] if found else None


def _by_library(dialled: str, region: str, possible: bool) -> str:
    try:
        number = phonenumbers.parse(dialled, region)
    except phonenumbers.NumberParseException:
        raise NumberFault("the number is not complete") from None
    fault = _possible_fault(number) if possible else _fault(number)
    if fault is not None:
        raise NumberFault(fault)
    canonical: str = phonenumbers.format_number(number, _E164)
    # A zero too many would be a second spelling of one number, and slip past rules on prefixes.
    if phonenumbers.format_number(phonenumbers.parse(canonical), _E164) != canonical:
        raise NumberFault("the number has a zero too many")
    return canonical


def _possible_fault(number: phonenumbers.PhoneNumber) -> str | None:
    found = phonenumbers.is_possible_number_with_reason(number)
    return None if found == ValidationResult.IS_POSSIBLE else _FAULTS.get(found, "the number is not complete")


def _fault(number: phonenumbers.PhoneNumber) -> str | None:
    """What is wrong with a number by the plan of its country."""
    if number.country_code == _ISRAEL:
        return plan_fault(phonenumbers.national_significant_number(number))
    if phonenumbers.is_valid_number(number):
        return None
    return _possible_fault(number) or "no such number is in use in its country"
