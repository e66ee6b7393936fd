"""What a person wrote into the search of a list: a number in any spelling, a name, text, an id; and days. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from mailbridge.phone.number import NumberFault, parse_number
from mailbridge.store.list_filter import ListFilter

_NUMBER: Final = re.compile(r"\+?[0-9 ().\-/]{3,40}")
_ID: Final = re.compile(r"(?:fax_)?[0-9A-Z]{26}|MB-[0-9A-Z]{8}", re.IGNORECASE | re.ASCII)
_LEAST_DIGITS: Final = 3
_LONGEST: Final = 100
_FIRST_DAY: Final = date(2000, 1, 1)
_LAST_DAY: Final = date(2199, 12, 31)


@dataclass(frozen=True, slots=True)
class Names:
    """The contacts: numbers by name, and names by number."""

    numbers: Mapping[str, tuple[str, ...]]

    def of(self, number: str | None) -> str | None:
        """Return the name of a number, None if it has none. A list of several numbers is not a name of each."""
        return next((name for name, found in self.numbers.items() if found == (number,)), None)

    def like(self, text: str) -> tuple[str, ...]:
        """Return the numbers of all names that contain this text."""
        wanted = re.sub(r"\s+", "-", text).casefold()
        return tuple(dict.fromkeys(number for name, found in self.numbers.items() if wanted in name for number in found))


def find_id(text: str) -> str | None:
    """Return the id of a fax, or its token, if that is what was written."""
    if not _ID.fullmatch(text):
        return None
    return text.upper() if text.upper().startswith("MB-") else f"fax_{text[-26:].upper()}"


def read_search(text: str, since: date | None, until: date | None, names: Names, region: str, zone: ZoneInfo) -> ListFilter:
    """Return the filter for a search; its `user` is still to be set. `until` is the last day, included."""
    text = text.strip()[:_LONGEST]
    number = _whole_number(text, region)
    return ListFilter(
        numbers=(number,) if number else names.like(text) if text else (),
        digits="" if number else _digits(text),
        text="" if number else text,
        since=_midnight(since, zone),
        until=_midnight(until + timedelta(days=1), zone) if until else None,
    )


def _whole_number(text: str, region: str) -> str | None:
    if not _NUMBER.fullmatch(text):
        return None
    try:
        return parse_number(text, region)
    except NumberFault:
        return None


def _digits(text: str) -> str:
    """Return the digits of a part of a number; with a + it is the beginning of one."""
    if not _NUMBER.fullmatch(text):
        return ""
    digits = re.sub(r"[^0-9]", "", text)
    if len(digits) < _LEAST_DIGITS:
        return ""
    if text.startswith("+"):
        return f"+{digits}"
    # The 0 before an area code is not in E.164; but a number may also end with these zeros.
    without_zero = digits.removeprefix("00").removeprefix("0")
    return without_zero if len(without_zero) >= _LEAST_DIGITS else digits


def read_day(text: str) -> date | None:
    """Return a day as a form has it (ISO 8601), None if there is none, or if no fax can be of that day."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if _FIRST_DAY <= day <= _LAST_DAY else None


def _midnight(day: date | None, zone: ZoneInfo) -> datetime | None:
    return None if day is None else datetime.combine(day, time(), zone)
