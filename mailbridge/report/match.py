"""Which fax a report is about. Pure. A wrong match is worse than none: whatever is ambiguous matches nothing."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

import phonenumbers

from mailbridge.model import Fax, Report
from mailbridge.phone.printed_number import printed_number

# What of a report names the fax.
How = Literal["token", "fax_code", "destination"]

# MyFax's clock and ours may differ by this. A result comes within LONGEST of its upload.
SKEW = timedelta(minutes=2)
LONGEST = timedelta(days=1)

_TOKEN = re.compile(r"(?<![0-9A-Z])MB-([0-9A-HJKMNP-TV-Z]{8})(?![0-9A-Z])", re.IGNORECASE | re.ASCII)
_UUID = re.compile(r"(?<![0-9a-f])[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?![0-9a-f])", re.IGNORECASE)
# As `_occurs` looks for a code: not a part of a path, of an address or of a longer word.
_WORD = re.compile(r"(?<![\w./+-])[\w-]{8,100}(?![\w/-]|\.\w)")
_NUMBER = re.compile(r"(?<![\w.+-])\+?\(?[0-9][0-9() -]{5,20}[0-9](?![\w-])", re.ASCII)
# Printed numbers of a text that are looked at.
_MAX_NUMBERS = 50
# Shorter codes could be found inside dates, and shorter ones of digits alone could be telephone numbers.
_SHORTEST_CODE, _SHORTEST_NUMERIC_CODE = 8, 16


@dataclass(frozen=True, slots=True)
class Match:
    """The fax that a report is about, and what names it.

    `earlier` says that the report is about an upload before the fax's last one, `contradicted` that it names another number.
    """

    fax_id: str
    how: How
    earlier: bool = field(default=False, compare=False)
    contradicted: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Identifiers:
    """What a report names: tokens, words that could be a FAX_CODE (in lower case), and numbers in E.164."""

    tokens: frozenset[str]
    codes: frozenset[str]
    numbers: frozenset[str]


def identifiers(report: Report, region: str = "IL") -> Identifiers:
    """Return what a report names, to look up its fax. `region` is that of numbers without a country code."""
    text = _text(report)
    # Blanks stand inside numbers and between them: `03 987 6543`, `03-9876543 3 pages`.
    printed = {piece for found in _NUMBER.findall(text)[:_MAX_NUMBERS] for piece in (found, *found.split())}
    return Identifiers(
        frozenset(f"MB-{found.upper()}" for found in _TOKEN.findall(text)),
        frozenset(_WORD.findall(text.lower())),
        frozenset(number for piece in printed if (number := printed_number(piece, region)) is not None),
    )


def match(report: Report, candidates: Sequence[Fax], region: str = "IL") -> Match | None:
    """Return the one fax among `candidates` that the report is about. They must be all faxes that have one of its identifiers.

    A token or a FAX_CODE of no candidate names a fax of someone else: then the destination is not looked at.
    """
    text, named = _text(report), identifiers(report, region)
    if named.tokens:
        return _by_token(candidates, named, _telephone_numbers(text, region))
    lowered = text.lower()
    coded = [fax for fax in candidates if fax.fax_code and _occurs(fax.fax_code.lower(), lowered)]
    if coded or _UUID.search(text):
        return _only(coded, "fax_code", True)
    return _by_destination(report.date, candidates, named.numbers)


def _text(report: Report) -> str:
    return f"{report.subject}\n{report.text}"


def _by_token(candidates: Sequence[Fax], named: Identifiers, telephones: Collection[str]) -> Match | None:
    """Several tokens, or one of several faxes, name none. Telephone numbers without the fax's own contradict its token."""
    found = [fax for fax in candidates if named.tokens & {fax.token, *(attempt.token for attempt in fax.attempts)}]
    if len(found) != 1 or len(named.tokens) != 1:
        return None
    (fax,) = found
    contradicted = bool(telephones) and fax.number not in named.numbers
    return Match(fax.id, "token", earlier=fax.token not in named.tokens, contradicted=contradicted)


def _telephone_numbers(text: str, region: str) -> set[str]:
    """Return the printed numbers that are surely telephone numbers: written as such, and valid. A date or a count is none."""
    printed = [found for found in _NUMBER.findall(text)[:_MAX_NUMBERS] if found.lstrip("(")[:1] in ("0", "+")]
    return {number for found in printed if (number := printed_number(found, region)) is not None and _is_valid(number)}


def _is_valid(number: str) -> bool:
    return phonenumbers.is_valid_number(phonenumbers.parse(number))


def _only(found: Sequence[Fax], how: How, unambiguous: bool) -> Match | None:
    return Match(found[0].id, how) if unambiguous and len(found) == 1 else None


def _occurs(code: str, text: str) -> bool:
    if len(code) < (_SHORTEST_NUMERIC_CODE if code.isdigit() else _SHORTEST_CODE) or code not in text:
        return False
    return re.search(rf"(?<![\w./+-]){re.escape(code)}(?![\w/-]|\.\w)", text) is not None


def _by_destination(date: datetime | None, candidates: Sequence[Fax], numbers: Collection[str]) -> Match | None:
    """Every fax to the number counts, also a finished one: the report could be about any of them."""
    if date is None:
        return None
    close = []
    for fax in candidates:
        started = fax.attempts[-1].started_at if fax.attempts else fax.created_at
        if fax.number in numbers and started - SKEW <= date <= started + LONGEST:
            close.append(fax)
    return _only(close, "destination", True)
