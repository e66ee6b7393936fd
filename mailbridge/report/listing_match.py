"""Which mail and which item of the list of `incoming.do` are the same received fax. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import timedelta

from mailbridge.model import ReceivedItem
from mailbridge.phone.printed_number import printed_number

# The list prints local times without a zone. This covers the hour that occurs twice in autumn, and a server that prints UTC.
MAX_GAP = timedelta(hours=4)
# A mail is written after its fax came in, except for a difference between clocks.
_CLOCK_SKEW = timedelta(seconds=30)
# Digits of the shortest complete number.
_SHORTEST_NUMBER = 7


def canonical_number(printed: str | None, region: str) -> str | None:
    """Return a printed number in E.164 if possible, else as printed; None for a caller who is not named.

    `region` is that of numbers without a country code.
    """
    # A telephone switch prints 0 or 000 for a number that is withheld.
    if printed is None or not any(character.isdigit() and character != "0" for character in printed):
        return None
    return printed_number(printed, region) or printed.strip()


def same_faxes(listed: Sequence[ReceivedItem], mailed: Sequence[ReceivedItem]) -> list[tuple[ReceivedItem, ReceivedItem]]:
    """Return pairs of a listed item and a mail that are one fax. Each is in one pair at most; the closest in time go first."""
    close = [(gap, item, mail) for item in listed for mail in mailed if (gap := _gap(item, mail)) is not None]
    found: list[tuple[ReceivedItem, ReceivedItem]] = []
    used: set[str] = set()
    for _, item, mail in sorted(close, key=lambda entry: (entry[0], entry[1].at, entry[2].at)):
        if not {item.id, mail.id} & used:
            used |= {item.id, mail.id}
            found.append((item, mail))
    return found


def closest_listed(mailed: ReceivedItem, listed: Iterable[ReceivedItem]) -> ReceivedItem | None:
    """Return the listed item of a mail's fax, or None."""
    return next((item for item, _ in same_faxes(list(listed), [mailed])), None)


def with_same_document(listed: ReceivedItem, mailed: Iterable[ReceivedItem], sha256: str | None) -> ReceivedItem | None:
    """Return the mail of a listed item's fax that has the document with this digest, or None."""
    same = [mail for mail in mailed if sha256 is not None and mail.sha256 == sha256]
    return next((mail for _, mail in same_faxes([listed], same)), None)


def _gap(listed: ReceivedItem, mailed: ReceivedItem) -> timedelta | None:
    """Return how far apart in time they are, more for a mail older than its fax; None if they are two faxes."""
    if not _same_number(listed.caller, mailed.caller):
        return None
    if listed.called and mailed.called and not _same_number(listed.called, mailed.called):
        return None
    gap = mailed.at - listed.at
    if abs(gap) > MAX_GAP:
        return None
    return gap if gap >= timedelta() else -gap if -gap <= _CLOCK_SKEW else MAX_GAP - gap


def _same_number(one: str | None, other: str | None) -> bool:
    """Whether two numbers are the same, also where a foreign one without its plus (442071234567) was read as a local one."""
    if one is None or other is None:
        return one == other
    short, long = sorted((re.sub(r"[^0-9]", "", number) for number in (one, other)), key=len)
    return one == other or (len(short) >= _SHORTEST_NUMBER and long.endswith(short))
