"""Lists of faxes for people, newest first, a page at a time; and searches in them.

A page is read along an index that has only the faxes of its list. A search by text looks at so many faxes of the list only, and
says where to go on: looking at all of two years' faxes takes seconds, and a transaction must be short. Ids sort by time.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, Table, TextClause, and_, exists, func, or_, select, text

from mailbridge.model import first_id
from mailbridge.store import rows, schema
from mailbridge.store.list_filter import SCAN, FaxesFound, FaxGroup, ListFilter, ReceivedFound
from mailbridge.store.sql import Sql

_fax, _event, _note = schema.fax.c, schema.event.c, schema.received_note.c
# As they stand in the indexes: SQLite does not conclude one condition from another.
_GROUPS: Final[dict[FaxGroup, tuple[ColumnElement[Any] | TextClause, ...]]] = {
    "all": (),
    "open": (text(schema.OPEN),),
    "delivered": (text(schema.DELIVERED),),
    "failed": (text(schema.NOT_DELIVERED),),
}
_RECEIVED: Final = text(schema.RECEIVED)
# An id may be a little older or newer than the time beside it.
_MARGIN: Final = timedelta(hours=1)


def list_faxes(sql: Sql, group: FaxGroup, wanted: ListFilter, below: str | None, limit: int) -> FaxesFound:
    """Return up to `limit` faxes of a group; see `store.interface.Search.list_faxes`."""
    of_list = [*_GROUPS[group], *_times(schema.fax, "fax", _fax.created_at, wanted), *_below(_fax.id, below)]
    if wanted.user is not None:
        of_list.append(_fax.user == wanted.user)
    found, next_below = _search(sql, schema.fax, of_list, _fax_conditions(wanted), wanted.must_search, limit)
    return FaxesFound([rows.to_fax(row) for row in found], next_below)


def list_received(sql: Sql, wanted: ListFilter, below: str | None, limit: int) -> ReceivedFound:
    """Return up to `limit` received faxes and voicemails; see `store.interface.Search.list_received`."""
    of_list = [_RECEIVED, *_times(schema.event, "evt", _event.at, wanted), *_below(_event.id, below)]
    must_search = wanted.must_search or bool(wanted.numbers)
    found, next_below = _search(sql, schema.event, of_list, _received_conditions(wanted), must_search, limit)
    return ReceivedFound([rows.to_event(row) for row in found], next_below)


def _search(
    sql: Sql, table: Table, of_list: list[Any], conditions: list[ColumnElement[bool]], must_search: bool, limit: int
) -> tuple[list[dict[str, Any]], str | None]:
    chosen = select(table).where(*of_list, *conditions).order_by(table.c.id.desc()).limit(limit)
    if not must_search:
        found = sql.rows(chosen)
        return found, found[-1]["id"] if len(found) == limit else None
    last, looked_at = sql.connection.execute(_window(table, of_list)).one()
    if not looked_at:
        return [], None
    found = sql.rows(chosen.where(table.c.id >= last))
    if len(found) == limit:
        return found, found[-1]["id"]
    return found, last if looked_at == SCAN else None


def _window(table: Table, of_list: list[Any]) -> Select[Any, int]:
    """Return the query for the last id, and the number, of the next rows of a list that are looked at."""
    window = select(table.c.id).where(*of_list).order_by(table.c.id.desc()).limit(SCAN).subquery()
    return select(func.min(window.c.id), func.count()).select_from(window)


def _below(column: Any, below: str | None) -> list[ColumnElement[bool]]:
    return [] if below is None else [column < below]


def _times(table: Table, prefix: str, column: Any, wanted: ListFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.since is not None:
        found += [column >= wanted.since, table.c.id >= first_id(prefix, wanted.since - _MARGIN)]
    if wanted.until is not None:
        found += [column < wanted.until, table.c.id < first_id(prefix, wanted.until + _MARGIN)]
    return found


def _fax_conditions(wanted: ListFilter) -> list[ColumnElement[bool]]:
    email = _fax.email
    any_of: list[ColumnElement[bool]] = _number_conditions(_fax.number, wanted)
    if wanted.text:
        any_of += [_contains(email["subject"].as_string(), wanted.text), _contains(email["sender"].as_string(), wanted.text)]
        any_of.append(_contains(_fax.user, wanted.text))
    return [or_(*any_of)] if any_of else []


def _received_conditions(wanted: ListFilter) -> list[ColumnElement[bool]]:
    data = _event.data
    caller, called = data["from"].as_string(), data["to"].as_string()
    any_of = [*_number_conditions(caller, wanted), *_number_conditions(called, wanted)]
    if wanted.text:
        any_of += [_contains(data[name].as_string(), wanted.text) for name in ("subject", "mailbox")]
        any_of.append(_contains(data["document"]["filename"].as_string(), wanted.text))
        any_of.append(exists().where(_note.fax_id == _event.fax_id, _contains(_note.note, wanted.text)))
    found: list[ColumnElement[bool]] = [or_(*any_of)] if any_of else []
    if wanted.unhandled:
        found.append(~exists().where(and_(_note.fax_id == _event.fax_id, _note.handled_by.is_not(None))))
    return found


def _number_conditions(column: Any, wanted: ListFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.numbers:
        found.append(column.in_(wanted.numbers))
    if wanted.digits.startswith("+"):
        found.append(column.startswith(wanted.digits, autoescape=True))
    elif wanted.digits:
        found.append(column.endswith(wanted.digits, autoescape=True))
    return found


def _contains(column: Any, part: str) -> ColumnElement[bool]:
    found: ColumnElement[bool] = func.lower(column).contains(part.lower(), autoescape=True)
    return found
