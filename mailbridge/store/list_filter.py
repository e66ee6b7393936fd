"""What lists for people may be narrowed to, and how much of the store one page of such a list looks at."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, NamedTuple

from mailbridge.model import Event, Fax

FaxGroup = Literal["all", "delivered", "open", "failed"]
# Rows that a search by text looks at in one transaction, which must be short.
SCAN: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class ListFilter:
    """Which faxes are wanted. With `numbers`, `digits` or `text`, those that fit any of the three."""

    user: str | None = None  # whose faxes alone; None is everybody's
    numbers: tuple[str, ...] = ()  # E.164
    digits: str = ""  # the number ends with these; with a + it begins so
    text: str = ""  # part of the subject, the sender or the user, or of the name of a document that was received
    since: datetime | None = None
    until: datetime | None = None  # not included
    unhandled: bool = False  # of received faxes: only those that nobody has handled

    @property
    def must_search(self) -> bool:
        """Whether each fax has to be looked at, as no index finds the wanted ones."""
        return bool(self.digits or self.text or self.unhandled)


class FaxesFound(NamedTuple):
    """The faxes found, newest first. `below` is where the search goes on, None if there are no more to be looked at."""

    faxes: list[Fax]
    below: str | None


class ReceivedFound(NamedTuple):
    """The events of received faxes and voicemails found, newest first. `below` as in FaxesFound."""

    events: list[Event]
    below: str | None
