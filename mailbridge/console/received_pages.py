"""Received faxes and voicemails: the list, and one of them with a note and who handled it."""

from __future__ import annotations

from typing import Any, NamedTuple

from starlette.responses import Response

from mailbridge.console.fax_lists import read_form, wanted_by
from mailbridge.console.fax_lookup import find_fax
from mailbridge.console.fax_page import people
from mailbridge.console.fax_story import tell
from mailbridge.console.page_images import pages_of
from mailbridge.console.paging import ROWS, PageOf, read_before
from mailbridge.console.visit import Visit, printable
from mailbridge.control.queries import received_as_json
from mailbridge.errors import NotFound
from mailbridge.store.interface import Transaction
from mailbridge.store.list_filter import ListFilter
from mailbridge.store.received_notes import ReceivedNote

_STEPS = 3
_LONGEST_NOTE = 2000


class Row(NamedTuple):
    """One line of the list."""

    id: str  # of its event
    fax: dict[str, Any]
    note: ReceivedNote | None


async def show_received(visit: Visit) -> Response:
    """List what was received."""
    search, before = read_form(visit), read_before(visit.query("before"))
    page = await _find(visit, wanted_by(visit, search), before)
    values = {"page": page, "search": search, "before": before, "name": "received"}
    return visit.changing_page("received_list.html", "received_list_part.html", **values)


async def _find(visit: Visit, wanted: ListFilter, before: str | None) -> PageOf[Row]:
    found, below = list[Row](), before
    for _ in range(_STEPS):
        start, most = below, ROWS - len(found)

        def step(tx: Transaction, start: str | None = start, most: int = most) -> tuple[list[Row], str | None]:
            page = tx.search.list_received(wanted, start, most)
            notes = tx.received.notes([event.fax_id for event in page.events if event.fax_id])
            return [Row(one.id, received_as_json(one), notes.get(one.fax_id or "")) for one in page.events], page.below

        rows, below = await visit.console.runtime.store.run(step)
        found += rows
        if below is None or len(found) >= ROWS:
            break
    return PageOf(tuple(found), below)


async def show_received_fax(visit: Visit) -> Response:
    """Show one received fax."""
    fax = await _received(visit)
    note = await _note(visit, fax["id"])
    story = tell(visit, fax, await people(visit, fax["id"]))
    pages = await pages_of(visit, fax)
    return visit.page("received.html", fax=fax, note=note, story=story, documents=pages, path=f"/received/{fax['id']}")


async def _received(visit: Visit) -> dict[str, Any]:
    fax = await find_fax(visit)
    if fax.get("direction") != "inbound":
        raise NotFound("not a received fax")
    return fax


async def _note(visit: Visit, fax_id: str) -> ReceivedNote | None:
    notes = await visit.console.runtime.store.run(lambda tx: tx.received.notes([fax_id]))
    return notes.get(fax_id)


async def save_note(visit: Visit) -> Response:
    """Store a note, and whether the fax was handled."""
    fax, form = await _received(visit), await visit.form()
    text = printable(form.get("note", "")[:_LONGEST_NOTE], kept="\n").strip()
    user, now, handled = visit.user.name, visit.now, bool(form.get("handled"))
    record = visit.actor(handled=handled)

    def work(tx: Transaction) -> None:
        before = tx.received.notes([fax["id"]]).get(fax["id"])
        by = (before.handled_by if before else None) or user
        tx.received.put_note(
            ReceivedNote(fax_id=fax["id"], changed_by=user, changed_at=now, note=text, handled_by=by if handled else None)
        )
        tx.audit.note("received.note", fax["id"], fax["from"], record, now)

    await visit.console.runtime.store.run(work)
    return visit.redirect(f"/received/{fax['id']}", "saved")
