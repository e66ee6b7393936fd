"""Values as MyFax prints them, and as a program wants them: times, numbers and money. Pure.

Israel's clocks leave out an hour in March and repeat one in October, and MyFax prints times without a zone. A time in the hour
that is left out is read as if the clocks had not been set yet (02:30 is 03:30 of summer). A time in the repeated hour is read as
the first of the two.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Final

import phonenumbers

REGION: Final = "IL"
# The years between which a time can be told in every zone.
FIRST, LAST = 1900, 9999

_FRACTION = re.compile(r"\.[0-9]+$", re.ASCII)
_NUMBER = re.compile(r"\+?[0-9() .\-]{3,40}", re.ASCII)
# No more digits than str() writes without an exponent: the value goes on as text.
_MONEY = re.compile(r"[+-]?[0-9]{1,12}(?:\.[0-9]{1,6})?", re.ASCII)


def moment(printed: str | None, zone: tzinfo) -> datetime | None:
    """Return a printed time in UTC, such as `2020-12-21 14:19:42.0`; without a zone of its own it is in `zone`.

    None where it is none, or so near the ends of the calendar (`9999-12-31`, for never) that no zone nor hour can be added.
    """
    try:
        told = datetime.fromisoformat(_FRACTION.sub("", printed or ""))
        return (told if told.tzinfo else told.replace(tzinfo=zone)).astimezone(UTC) if FIRST < told.year < LAST else None
    except ValueError:
        return None


def wall_clock(time: datetime, zone: tzinfo, *, end: bool) -> str:
    """Return an aware time as `yyyy-MM-dd HH:mm:ss` in `zone`, as the start of a stretch of time or as its end.

    In the repeated hour a stretch becomes longer rather than shorter: nothing in it is missed.
    """
    local = time.astimezone(zone)
    if end and local.microsecond:
        local += timedelta(seconds=1)
    first, second = (local.replace(fold=fold).utcoffset() or timedelta() for fold in (0, 1))
    repeated = first - second
    if repeated > timedelta() and local.fold == int(end):
        local += repeated if end else -repeated
    return f"{local.replace(tzinfo=None, microsecond=0):%Y-%m-%d %H:%M:%S}".zfill(19)


def e164(printed: str | None, region: str = REGION) -> str | None:
    """Return a number as `+97239876543`, or None where it is no whole number; without a country code it is one of `region`."""
    text = (printed or "").strip()
    if not _NUMBER.fullmatch(text):
        return None
    digits = re.sub(r"[^0-9]", "", text)
    code = str(phonenumbers.country_code_for_region(region) or "+")
    whole = text.startswith("+") or (digits.startswith(code) and len(digits) >= len(code) + 8)
    try:
        number = phonenumbers.parse(f"+{digits}" if whole else digits, region)
    except phonenumbers.NumberParseException:
        return None
    # Judged by length: some live Israeli ranges count as invalid.
    possible = phonenumbers.is_possible_number_with_reason(number) == phonenumbers.ValidationResult.IS_POSSIBLE
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164) if possible else None


def money(printed: str | None) -> Decimal | None:
    """Return a price or a credit exactly as printed, so that its text is `0.40` again; None where it is no plain amount."""
    return Decimal(printed) if printed is not None and _MONEY.fullmatch(printed) else None
