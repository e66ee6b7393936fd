"""A recipient's address becomes a fax number in E.164, or a refusal in words. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection

import phonenumbers

from mailbridge.errors import Refused

# ASCII digits alone: Unicode has others that int() and phonenumbers read, and two spellings of a number defeat every rule on it.
_NUMBER = re.compile(r"\+?[0-9][0-9 .()\-]*|\+?\([0-9 .()\-]*", re.ASCII)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_DIALLED = set("*#,;")
_E164 = phonenumbers.PhoneNumberFormat.E164
_NOT_WHOLE = "550 5.1.3 This is not a whole fax number; write it like 03-9876543 or +97239876543"


def parse_recipient(address: str, domains: Collection[str], region: str) -> str:
    """Return the number of `number@gateway` in E.164, such as `+97239876543`.

    `domains` are the gateway's, `region` that of numbers without a country code. Takes spaces, dots, hyphens and brackets between
    digits, a quoted local part, and `FAX=+…` (RFC 3192). Raises Refused: 550 5.1.2 for a foreign domain, 550 5.1.3 for no number.
    """
    local, at, domain = address.rpartition("@")
    if not at or domain.casefold() not in {known.casefold() for known in domains}:
        raise Refused(f"550 5.1.2 This gateway only takes faxes for NUMBER@{next(iter(domains))}; it passes on no other mail")
    return _number(_unquoted(local), region)


def _unquoted(local: str) -> str:
    quoted = _QUOTED.fullmatch(local)
    return re.sub(r"\\(.)", r"\1", quoted[1], flags=re.DOTALL) if quoted else local


def _number(local: str, region: str) -> str:
    text = local.strip(" ")
    if text[:4].upper() == "FAX=":
        text = text[4:]
    if "/" in text:
        raise Refused("550 5.1.3 Subaddresses such as /T33S= cannot be faxed to; write the number alone")
    if _DIALLED & set(text):
        raise Refused("550 5.1.3 Star codes, extensions and dialling signs (* # , ;) cannot be faxed to; write the number alone")
    if len(text) > 40 or not _NUMBER.fullmatch(text):
        raise Refused("550 5.1.3 The part before the @ is not a fax number; write it like 03-9876543 or +97239876543")
    return _canonical(_international(text, region), region)


def _international(text: str, region: str) -> str:
    """Put the plus before a number that begins with the region's own country code, as `972…` does."""
    digits = re.sub(r"[^0-9]", "", text)
    code = str(phonenumbers.country_code_for_region(region))
    bare = not text.startswith("+") and digits.startswith(code) and len(digits) >= len(code) + 8
    return f"+{digits}" if bare or text.startswith("+") else digits


def _canonical(text: str, region: str) -> str:
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        number = None
    # Judged by length: some live Israeli ranges count as invalid, and some numbers are only dialled within one town.
    if number is None or phonenumbers.is_possible_number_with_reason(number) != phonenumbers.ValidationResult.IS_POSSIBLE:
        raise Refused(_NOT_WHOLE)
    canonical: str = phonenumbers.format_number(number, _E164)
    # A zero too many would be a second spelling of one number, and slip past rules on prefixes.
    if phonenumbers.format_number(phonenumbers.parse(canonical), _E164) != canonical:
        raise Refused(_NOT_WHOLE)
    return canonical
