"""Lists a page at a time: a page begins below the last id of the one before, however many there are (keyset paging). Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

T = TypeVar("T")
ROWS: Final = 40
_ID: Final = re.compile(r"[a-z]{3}_[0-9A-Z]{26}")


@dataclass(frozen=True, slots=True)
class PageOf(Generic[T]):
    """One page of a list. `older` is the id below which the next page begins, None if there is none."""

    rows: tuple[T, ...]
    older: str | None

    @property
    def is_full(self) -> bool:
        """Whether it has as many rows as a page can have; a search may find fewer and still go on."""
        return len(self.rows) >= ROWS


def page_of(found: Sequence[T], id_of: Callable[[T], str], rows: int = ROWS) -> PageOf[T]:
    """Return the page that a query has found which asked for one row more than a page has."""
    shown = tuple(found[:rows])
    return PageOf(shown, id_of(shown[-1]) if len(found) > rows else None)


def read_before(given: str | None) -> str | None:
    """Return where a page begins, as its address says; None for the first page, also if the address makes no sense."""
    return given if given and _ID.fullmatch(given) else None
