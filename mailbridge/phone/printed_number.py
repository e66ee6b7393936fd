"""A number as MyFax, or somebody else, prints it. It is read without the rules for what may be dialled. Pure."""

from __future__ import annotations

import phonenumbers


def printed_number(printed: str, region: str) -> str | None:
    """Return a printed number in E.164, or None if it is not one."""
    try:
        number = phonenumbers.parse(printed, region)
    except phonenumbers.NumberParseException:
        return None
    if "*" in printed or "#" in printed or not phonenumbers.is_possible_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
