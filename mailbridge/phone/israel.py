"""Israel's numbering plan as one table: which numbers exist, and what is wrong with one that does not. Pure.

Sources: ITU-T, National Numbering Plans, Israel (+972), document T020200006A, for the ranges and their lengths; libphonenumber's
metadata of +972 (resources/metadata/972) for what was opened since: 1-801, 1-809, 1-901, 1-902, 1-99x.
Not in the table, since no fax machine answers there: short numbers (100, 1201), star codes, voice mailboxes (151), and services
of the network (1-255).
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers that begin with `code`, as people in Israel dial it (`x` is any digit), and then have `digits` more."""

    code: str
    digits: int
    use: str
    premium: bool = False


PLAN = (
    Range("02", 7, "Jerusalem"),
    Range("03", 7, "Tel Aviv"),
    Range("04", 7, "Haifa and the north"),
    Range("08", 7, "the south"),
    Range("09", 7, "the Sharon"),
    Range("05x", 7, "mobile"),
    Range("07x", 7, "without an area: VoIP and others"),
    Range("153-2", 7, "fax to mail of 02"),
    Range("153-3", 7, "fax to mail of 03"),
    Range("153-4", 7, "fax to mail of 04"),
    Range("153-8", 7, "fax to mail of 08"),
    Range("153-9", 7, "fax to mail of 09"),
    Range("153-5x", 7, "fax to mail of 05x"),
    Range("153-7x", 7, "fax to mail of 07x"),
    Range("1-599", 6, "routed calls of businesses, at the normal price"),
    Range("1-700", 6, "shared cost"),
    Range("1-800", 6, "free for the caller"),
    Range("1-801", 6, "free for the caller"),
    Range("1-809", 6, "free for the caller"),
    Range("1-200", 6, "votes", premium=True),
    Range("1-212", 4, "votes", premium=True),
    Range("1-900", 6, "premium", premium=True),
    Range("1-901", 6, "premium", premium=True),
    Range("1-902", 6, "premium", premium=True),
    Range("1-919", 6, "premium", premium=True),
    Range("1-99x", 6, "premium", premium=True),
)
_CODES = [(re.compile(row.code.replace("-", "").replace("x", "[0-9]"), re.ASCII), row) for row in PLAN]


def plan_fault(national: str) -> str | None:
    """Return what is wrong with a number, given as the digits behind +972, or None where the plan has it."""
    dialled = _dialled(national)
    code, row = _find(dialled)
    if row is None:
        return f"no fax number in Israel begins with {dialled[: 4 if dialled.startswith('1') else 2]}"
    found = len(dialled) - len(code)
    if found == row.digits:
        return None
    size = "short" if found < row.digits else "long"
    return f"the number is too {size}: {row.digits} digits must follow {code}, and there are {found}"


def local_fault(dialled: str) -> str | None:
    """Return what is missing at the front of a number that was written without a country code, or None."""
    if dialled.startswith(("0", "1")):
        return None
    if len(dialled) < 6:
        return "the number is too short"
    if len(dialled) <= 7:
        return "the area code is missing"
    if plan_fault(dialled) is None:
        return "the leading 0 is missing"
    return "the number begins with neither 0 nor 1, as numbers in Israel do, nor with + and a country code"


def is_premium(national: str) -> bool:
    """Whether a number, given as the digits behind +972, costs more per minute, also with digits too many behind it."""
    _, row = _find(_dialled(national))
    return row is not None and row.premium


def _dialled(national: str) -> str:
    return national if national.startswith("1") else f"0{national}"


def _find(dialled: str) -> tuple[str, Range | None]:
    for code, row in _CODES:
        if found := code.match(dialled):
            return found[0], row
    return "", None
