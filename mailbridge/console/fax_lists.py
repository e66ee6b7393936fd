"""The lists of sent faxes: those that were delivered, that wait, and that failed, or all; with a search."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, NamedTuple
from urllib.parse import urlencode

from starlette.responses import Response

from mailbridge.console.paging import ROWS, PageOf, read_before
from mailbridge.console.search_terms import find_id, read_day, read_search
from mailbridge.console.visit import Visit
from mailbridge.errors import NotFound
from mailbridge.model import Fax
from mailbridge.store.interface import Transaction
from mailbridge.store.list_filter import FaxGroup, ListFilter

# Transactions that one page of a search takes at most; then a person may go on.
_STEPS: Final = 3


class FaxList(NamedTuple):
    """One list: `name` is its path and that of its title, `group` what it has."""

    name: str
    group: FaxGroup


LISTS: Final = (FaxList("sent", "delivered"), FaxList("waiting", "open"), FaxList("failed", "failed"), FaxList("faxes", "all"))


@dataclass(frozen=True, slots=True)
class Search:
    """The search of a list, as its form has it."""

    text: str
    since: str
    until: str
    unhandled: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether the list is not narrowed."""
        return not (self.text or self.since or self.until or self.unhandled)

    def query(self, **more: str | None) -> str:
        """Return the search as the query of an address, with more parameters."""
        given = {"q": self.text, "since": self.since, "until": self.until, "unhandled": "1" if self.unhandled else "", **more}
        return urlencode({name: value for name, value in given.items() if value})


async def show_list(list_: FaxList, visit: Visit) -> Response:
    """Show one of the lists."""
    search = read_form(visit)
    if (fax_id := find_id(search.text)) and (found := await _fax_with_id(visit, fax_id)):
        return visit.redirect(f"/faxes/{found}")
    before = read_before(visit.query("before"))
    page = await _find(visit, list_.group, replace(wanted_by(visit, search), user=visit.user.own), before)
    values = {"page": page, "search": search, "name": list_.name, "before": before, "held": await _held(visit, list_)}
    return visit.changing_page("fax_list.html", "fax_list_part.html", **values)


async def _held(visit: Visit, list_: FaxList) -> list[str]:
    """Return the accounts whose sending is held, "" for all; of a list in which that matters."""
    if list_.group != "open":
        return []
    return await visit.console.runtime.store.run(lambda tx: tx.conditions.held_sending())


def read_form(visit: Visit) -> Search:
    """Return the search that the address of a list has."""
    since, until = (day if read_day(day) else "" for day in (visit.query("since"), visit.query("until")))
    return Search(visit.query("q"), since, until, bool(visit.query("unhandled")))


def wanted_by(visit: Visit, search: Search) -> ListFilter:
    """Return the filter of a search."""
    console = visit.console
    days = read_day(search.since), read_day(search.until)
    found = read_search(search.text, *days, console.names, console.config.smtp.region, console.zone)
    return replace(found, unhandled=search.unhandled)


async def _fax_with_id(visit: Visit, id: str) -> str | None:
    """Return the id of the fax that has this id or token, None if there is none that this user may see."""

    def work(tx: Transaction) -> str | None:
        for fax_id in tx.search.fax_ids(id.removeprefix("fax_"), 1):
            try:
                fax = tx.faxes.get(fax_id)
            except NotFound:
                return fax_id if visit.user.sees_all else None
            return fax.id if visit.user.own in (None, fax.user) else None
        return id if visit.user.sees_all and tx.search.received(id) else None

    return await visit.console.runtime.store.run(work)


async def _find(visit: Visit, group: FaxGroup, wanted: ListFilter, before: str | None) -> PageOf[Fax]:
    """Return a page of a list; of a search, what a bounded look at the list finds."""
    store, found, below = visit.console.runtime.store, list[Fax](), before
    for _ in range(_STEPS):
        start, most = below, ROWS - len(found)
        step = await store.run(lambda tx, start=start, most=most: tx.search.list_faxes(group, wanted, start, most))  # type: ignore[misc]  # a default has no type
        found, below = [*found, *step.faxes], step.below
        if below is None or len(found) >= ROWS:
            break
    return PageOf(tuple(found), below)
