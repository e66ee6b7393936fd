"""Which mail and which item of the list of `incoming.do` tell of the same fax."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import timedelta

from mailbridge.model import ReceivedItem
from mailbridge.report.match import e164

# The list prints local times without a zone: this covers the hour that is there twice in autumn, and a server that prints UTC.
NEAR = timedelta(hours=4)
# A mail is written after its fax came in, but for what the clocks differ.
_CLOCKS = timedelta(seconds=30)
# No number that is shorter (digits) is a whole one.
_LOCAL = 7


def number(printed: str | None, region: str) -> str | None:
    """Return a number in E.164 where it can be, as printed where not, and None for a caller who is not named."""
    # A switch prints 0 or 000 for a number that is withheld.
    if printed is None or not any(letter.isdigit() and letter != "0" for letter in printed):
        return None
    return e164(printed, region) or printed.strip()


def pair(listed: Sequence[ReceivedItem], mailed: Sequence[ReceivedItem]) -> list[tuple[ReceivedItem, ReceivedItem]]:
    """Return the pairs that tell of one fax, each item and mail in one pair at most: the nearest in time are paired first."""
    fitting = [(far, one, other) for one in listed for other in mailed if (far := _apart(one, other)) is not None]
    found: list[tuple[ReceivedItem, ReceivedItem]] = []
    taken: set[str] = set()
    for _, one, other in sorted(fitting, key=lambda entry: (entry[0], entry[1].at, entry[2].at)):
        if not {one.id, other.id} & taken:
            taken |= {one.id, other.id}
            found.append((one, other))
    return found


def nearest(mailed: ReceivedItem, listed: Iterable[ReceivedItem]) -> ReceivedItem | None:
    """Return the item of the list that a mail tells of, or None."""
    return next((one for one, _ in pair(list(listed), [mailed])), None)


def twin(listed: ReceivedItem, mailed: Iterable[ReceivedItem], sha256: str | None) -> ReceivedItem | None:
    """Return the mail with the very document of an item of the list, or None."""
    same = [other for other in mailed if sha256 is not None and other.sha256 == sha256]
    return next((other for _, other in pair([listed], same)), None)


def _same(one: str | None, other: str | None) -> bool:
    """Whether two numbers are one, also where one from abroad without its plus (442071234567) was taken for local."""
    if one is None or other is None:
        return one == other
    short, long = sorted((re.sub(r"[^0-9]", "", number) for number in (one, other)), key=len)
    return one == other or (len(short) >= _LOCAL and long.endswith(short))


def _apart(listed: ReceivedItem, mailed: ReceivedItem) -> timedelta | None:
    """Return how far apart in time they are, more for a mail older than its fax; None where they tell of two faxes."""
    if not _same(listed.caller, mailed.caller) or (listed.called and mailed.called and not _same(listed.called, mailed.called)):
        return None
    gap = mailed.at - listed.at
    if abs(gap) > NEAR:
        return None
    return gap if gap >= timedelta() else -gap if -gap <= _CLOCKS else NEAR - gap
