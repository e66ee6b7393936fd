"""Times, numbers and amounts, converted from and to the way MyFax prints them. Pure.

MyFax prints times without a zone, and Israel's clocks skip an hour in March and repeat one in October. A time in the skipped hour
is read as if the clocks had not changed yet (02:30 is 03:30 in summer time). A time in the repeated hour is read as the first of
the two.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Final

import phonenumbers

REGION: Final = "IL"
# Between these years a time can be converted to every zone.
FIRST, LAST = 1900, 9999

_FRACTION = re.compile(r"\.[0-9]+$", re.ASCII)
_NUMBER = re.compile(r"\+?[0-9() .\-]{3,40}", re.ASCII)
# At most as many digits as str() writes without an exponent, because the amount is stored as text.
_MONEY = re.compile(r"[+-]?[0-9]{1,12}(?:\.[0-9]{1,6})?", re.ASCII)

_CURRENCIES: Final = {
    **dict.fromkeys(("₪", 'ש"ח', "ש״ח", "NIS", "ILS"), "ILS"),
    **dict.fromkeys(("$", "USD"), "USD"),
    **dict.fromkeys(("€", "EUR"), "EUR"),
}
# Before or behind an amount.
_CURRENCY = re.compile("|".join(map(re.escape, _CURRENCIES)), re.IGNORECASE)


def moment(printed: str | None, zone: tzinfo) -> datetime | None:
    """Return a printed time such as `2020-12-21 14:19:42.0` in UTC; if it has no zone of its own, it is in `zone`.

    Returns None for anything else, and for years so near the ends of the calendar that they cannot be converted (`9999-12-31`,
    meaning never).
    """
    try:
        time = datetime.fromisoformat(_FRACTION.sub("", printed or ""))
    except ValueError:
        return None
    if not FIRST < time.year < LAST:
        return None
    return (time if time.tzinfo else time.replace(tzinfo=zone)).astimezone(UTC)


def wall_clock(time: datetime, zone: tzinfo, *, end: bool) -> str:
    """Return an aware time as `yyyy-MM-dd HH:mm:ss` in `zone`, to be used as the start or the end of a range.

    In the repeated hour the range becomes longer rather than shorter, so that nothing in it is missed.
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
    """Return a printed number as `+97239876543`, None if it is not complete. Without a country code it is one of `region`."""
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
    # Only the length is checked: phonenumbers calls some Israeli ranges in use invalid.
    possible = phonenumbers.is_possible_number_with_reason(number) == phonenumbers.ValidationResult.IS_POSSIBLE
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164) if possible else None


def money(printed: str | None) -> Decimal | None:
    """Return an amount exactly as printed, so that its text is `0.40` again; None if it is not a plain decimal number.

    A currency before or behind it does not count (see `currency`).
    """
    amount = _CURRENCY.sub("", printed or "", count=1).strip()
    return Decimal(amount) if _MONEY.fullmatch(amount) else None


def currency(printed: str | None) -> str | None:
    """Return the currency that an amount is printed with (ISO 4217), None if without one, as in MyFax's document."""
    found = _CURRENCY.search(printed or "")
    return None if found is None else _CURRENCIES[found[0].upper()]
