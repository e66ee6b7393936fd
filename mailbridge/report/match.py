"""Which of our faxes a report speaks of. Pure. A wrong match is worse than none: whatever is ambiguous matches nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import phonenumbers

from mailbridge.model import Fax, Report

How = Literal["token", "fax_code", "destination"]

# MyFax's clock and ours may differ by this; a result comes within a day of its upload.
SKEW = timedelta(minutes=2)
LONGEST = timedelta(days=1)

_TOKEN = re.compile(r"(?<![0-9A-Z])MB-([0-9A-HJKMNP-TV-Z]{8})(?![0-9A-Z])", re.IGNORECASE | re.ASCII)
_UUID = re.compile(r"(?<![0-9a-f])[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?![0-9a-f])", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![\w.+-])\+?\(?[0-9][0-9() -]{5,20}[0-9](?![\w-])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Match:
    """A fax that a report speaks of, and how that is known."""

    fax_id: str
    how: How


def match(report: Report, candidates: Sequence[Fax], region: str = "IL") -> Match | None:
    """Return the one fax among `candidates` (`Transaction.in_flight`) that the report speaks of.

    A token or a FAX_CODE that is not a candidate's names a fax that is not ours: then the destination is not looked at.
    `region` is that of local numbers.
    """
    text = f"{report.subject}\n{report.text}"
    tokens = {f"MB-{found.upper()}" for found in _TOKEN.findall(text)}
    if tokens:
        return _only([fax for fax in candidates if fax.token.upper() in tokens], "token", len(tokens) == 1)
    lowered = text.lower()
    coded = [fax for fax in candidates if fax.fax_code and _stands(fax.fax_code.lower(), lowered)]
    if coded or _UUID.search(text):
        return _only(coded, "fax_code", True)
    return _by_destination(report, candidates, text, region)


def _only(found: list[Fax], how: How, clear: bool) -> Match | None:
    return Match(found[0].id, how) if clear and len(found) == 1 else None


def _stands(code: str, text: str) -> bool:
    # A short code would be found inside dates, and one of digits alone as somebody's telephone number.
    if len(code) < (16 if code.isdigit() else 8) or code not in text:
        return False
    return re.search(rf"(?<![\w./+-]){re.escape(code)}(?![\w/-]|\.\w)", text) is not None


def _by_destination(report: Report, candidates: Sequence[Fax], text: str, region: str) -> Match | None:
    """Every fax to the number counts, also finished ones: two of them could each be meant."""
    date = report.date
    if date is None:
        return None
    # Blanks stand inside numbers and between them: `03 987 6543`, `03-9876543 3 pages`.
    printed = {piece for found in _NUMBER.findall(text)[:50] for piece in (found, *found.split())}
    numbers = {number for piece in printed if (number := e164(piece, region)) is not None}
    fitting = []
    for fax in candidates:
        begun = fax.attempts[-1].started_at if fax.attempts else fax.created_at
        if fax.number in numbers and begun - SKEW <= date <= begun + LONGEST:
            fitting.append(fax)
    return _only(fitting, "destination", True)


def e164(printed: str, region: str) -> str | None:
    """Return a printed number in E.164, or None where it is none."""
    try:
        number = phonenumbers.parse(printed, region)
    except phonenumbers.NumberParseException:
        return None
    if "*" in printed or "#" in printed or not phonenumbers.is_possible_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
