"""What people wrote about received faxes: a note, and who handled it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Final

from sqlalchemy import delete, select

from mailbridge.store import schema
from mailbridge.store.on_conflict import insert_or_replace
from mailbridge.store.sql import Sql, any_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedNote:
    """What people wrote about one received fax."""

    fax_id: str  # fax_…, of the received fax
    changed_by: str  # user who wrote this last
    changed_at: datetime
    note: str = ""
    handled_by: str | None = None  # user who handled the fax; None while nobody has


_note = schema.received_note.c
_NAMES = tuple(field.name for field in fields(ReceivedNote))
_PUT: Final = insert_or_replace(schema.received_note, ["fax_id"], _NAMES)
_OF: Final = select(schema.received_note).where(_note.fax_id.in_(any_of("ids")))


def notes(sql: Sql, fax_ids: Collection[str]) -> dict[str, ReceivedNote]:
    """Return the notes about these received faxes, by the id of the fax."""
    return {row["fax_id"]: ReceivedNote(**row) for row in sql.rows(_OF, ids=list(fax_ids))}


def put_note(sql: Sql, note: ReceivedNote) -> None:
    """Store a note; it replaces the one about the same fax."""
    sql.execute(_PUT, asdict(note))


def delete_notes(sql: Sql, fax_ids: Collection[str]) -> None:
    """Delete the notes about these received faxes."""
    sql.execute(delete(schema.received_note).where(_note.fax_id.in_(fax_ids)))
