"""Which of our faxes a report speaks of. Pure. A wrong match is worse than none: whatever is ambiguous matches nothing."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import phonenumbers

from mailbridge.model import Fax, Report

How = Literal["token", "fax_code", "destination"]

# MyFax's clock and ours may differ by this; a result comes within a day of its upload.
SKEW = timedelta(minutes=2)
LONGEST = timedelta(days=1)

_TOKEN = re.compile(r"(?<![0-9A-Z])MB-([0-9A-HJKMNP-TV-Z]{8})(?![0-9A-Z])", re.IGNORECASE | re.ASCII)
_UUID = re.compile(r"(?<![0-9a-f])[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?![0-9a-f])", re.IGNORECASE)
# As `_stands` looks for a code: no part of a path, an address or a longer word.
_WORD = re.compile(r"(?<![\w./+-])[\w-]{8,100}(?![\w/-]|\.\w)")
_NUMBER = re.compile(r"(?<![\w.+-])\+?\(?[0-9][0-9() -]{5,20}[0-9](?![\w-])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Match:
    """A fax that a report speaks of, and how that is known."""

    fax_id: str
    how: How


@dataclass(frozen=True, slots=True)
class Clues:
    """What a report names: tokens, words that could be a FAX_CODE (in lower case), and numbers in E.164."""

    tokens: frozenset[str]
    codes: frozenset[str]
    numbers: frozenset[str]


def clues(report: Report, region: str = "IL") -> Clues:
    """Return what a report names, by which its fax can be looked up. `region` is that of local numbers."""
    text = _text(report)
    # Blanks stand inside numbers and between them: `03 987 6543`, `03-9876543 3 pages`.
    printed = {piece for found in _NUMBER.findall(text)[:50] for piece in (found, *found.split())}
    return Clues(
        frozenset(f"MB-{found.upper()}" for found in _TOKEN.findall(text)),
        frozenset(_WORD.findall(text.lower())),
        frozenset(number for piece in printed if (number := e164(piece, region)) is not None),
    )


def match(report: Report, candidates: Sequence[Fax], region: str = "IL") -> Match | None:
    """Return the one fax among `candidates` (all that have one of its `clues`) that the report speaks of.

    A token or a FAX_CODE that is not a candidate's names a fax that is not ours: then the destination is not looked at.
    `region` is that of local numbers.
    """
    text, named = _text(report), clues(report, region)
    tokens = named.tokens
    if tokens:
        return _only([fax for fax in candidates if fax.token.upper() in tokens], "token", len(tokens) == 1)
    lowered = text.lower()
    coded = [fax for fax in candidates if fax.fax_code and _stands(fax.fax_code.lower(), lowered)]
    if coded or _UUID.search(text):
        return _only(coded, "fax_code", True)
    return _by_destination(report.date, candidates, named.numbers)


def _text(report: Report) -> str:
    return f"{report.subject}\n{report.text}"


def _only(found: list[Fax], how: How, clear: bool) -> Match | None:
    return Match(found[0].id, how) if clear and len(found) == 1 else None


def _stands(code: str, text: str) -> bool:
    # A short code would be found inside dates, and one of digits alone as somebody's telephone number.
    if len(code) < (16 if code.isdigit() else 8) or code not in text:
        return False
    return re.search(rf"(?<![\w./+-]){re.escape(code)}(?![\w/-]|\.\w)", text) is not None


def _by_destination(date: datetime | None, candidates: Sequence[Fax], numbers: Collection[str]) -> Match | None:
    """Every fax to the number counts, also finished ones: two of them could each be meant."""
    if date is None:
        return None
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
