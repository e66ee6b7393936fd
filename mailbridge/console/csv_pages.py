"""The lists as CSV, with the same search: everything that it finds, read from the store a piece at a time."""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, Final

from starlette.responses import Response, StreamingResponse

from mailbridge.console.csv_cells import csv_rows
from mailbridge.console.downloads import attachment
from mailbridge.console.fax_lists import FaxList, read_form, wanted_by
from mailbridge.console.visit import Visit
from mailbridge.control.queries import received_as_json
from mailbridge.model import Event, Fax
from mailbridge.phone.national_form import national_form
from mailbridge.store.interface import Transaction
from mailbridge.store.received_notes import ReceivedNote

_STEP: Final = 200  # rows in one transaction, which must be short
_MOST: Final = 100_000  # rows
_SENT: Final = (
    "number",
    "name",
    "state",
    "why",
    "accepted",
    "final",
    "pages",
    "subject",
    "sender",
    "user",
    "price",
    "account",
    "id",
)
_RECEIVED: Final = ("from", "name", "to", "at", "pages", "subject", "handled_by", "note", "account", "id")
# Reads what is below an id; returns it and where to go on.
Read = Callable[[Transaction, str | None], tuple[list[Any], str | None]]
Row = Callable[[Any], tuple[object, ...]]


async def download_faxes(list_: FaxList, visit: Visit) -> Response:
    """Return one of the lists of sent faxes."""
    wanted = replace(wanted_by(visit, read_form(visit)), user=visit.user.own)

    def read(tx: Transaction, below: str | None) -> tuple[list[Any], str | None]:
        found = tx.search.list_faxes(list_.group, wanted, below, _STEP)
        return found.faxes, found.below

    return await _download(visit, list_.name, _SENT, read, partial(_sent_row, visit, _names(visit)))


async def download_received(visit: Visit) -> Response:
    """Return what was received."""
    wanted = wanted_by(visit, read_form(visit))

    def read(tx: Transaction, below: str | None) -> tuple[list[Any], str | None]:
        found = tx.search.list_received(wanted, below, _STEP)
        notes = tx.received.notes([event.fax_id for event in found.events if event.fax_id])
        return [(event, notes.get(event.fax_id or "")) for event in found.events], found.below

    return await _download(visit, "received", _RECEIVED, read, partial(_received_row, visit, _names(visit)))


def _names(visit: Visit) -> dict[str, str]:
    """Return the names of numbers: to look each up among all contacts takes too long for many rows."""
    return {numbers[0]: name for name, numbers in visit.console.names.numbers.items() if len(numbers) == 1}


async def _download(visit: Visit, name: str, columns: Iterable[str], read: Read, row: Row) -> Response:
    now, record = visit.now, visit.actor(list=name, search=visit.query("q"))
    await visit.console.runtime.store.run(lambda tx: tx.audit.note("list.download", visit.user.name, None, record, now))
    headers = attachment(f"{name}-{_local(visit, now)[:10]}.csv", "text/csv; charset=utf-8", 0)
    del headers["content-length"]
    titles = [str(visit.texts.text(f"csv.{column}")) for column in columns]
    return StreamingResponse(_pieces(visit, titles, read, row), headers=headers)


async def _pieces(visit: Visit, titles: list[str], read: Read, row: Row) -> AsyncIterator[bytes]:
    # Without this mark Excel takes Hebrew for another charset.
    yield codecs.BOM_UTF8 + csv_rows([titles])
    below, rows = None, 0
    while rows < _MOST:
        found, below = await visit.console.runtime.store.run(partial(_step, read, below))
        rows += len(found)
        if found:
            yield csv_rows(row(one) for one in found)
        if below is None:
            return


def _step(read: Read, below: str | None, tx: Transaction) -> tuple[list[Any], str | None]:
    return read(tx, below)


def _sent_row(visit: Visit, names: dict[str, str], fax: Fax) -> tuple[object, ...]:
    why = "" if fax.failure is None else visit.display.why(fax.failure.code).unescape()
    times = (_local(visit, fax.created_at), _local(visit, fax.final_at))
    who = (fax.email.subject, fax.email.sender, fax.user)
    state = visit.texts.text(f"state.{fax.state}").unescape()
    price = " ".join(filter(None, (fax.price, fax.currency)))
    return (national_form(fax.number), names.get(fax.number), state, why, *times, fax.pages, *who, price, fax.account, fax.id)


def _received_row(visit: Visit, names: dict[str, str], found: tuple[Event, ReceivedNote | None]) -> tuple[object, ...]:
    event, note = found
    fax: dict[str, Any] = received_as_json(event)
    numbers = (fax["from"] and national_form(fax["from"]), names.get(fax["from"] or ""), fax["to"] and national_form(fax["to"]))
    facts = (_local(visit, fax["received_at"]), fax.get("pages"), fax.get("subject"))
    return (*numbers, *facts, note and note.handled_by, note and note.note, fax["account"], fax["id"])


def _local(visit: Visit, moment: datetime | str | None) -> str:
    """Return a time as spreadsheets read it."""
    if moment is None:
        return ""
    at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return at.astimezone(visit.console.zone).strftime("%Y-%m-%d %H:%M:%S")
