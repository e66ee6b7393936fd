"""Mailboxes: how far each folder was read, and which mails were processed."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, select

from mailbridge.model import Cursor
from mailbridge.store import schema
from mailbridge.store.on_conflict import insert_or_ignore, insert_or_replace
from mailbridge.store.prepared import Prepared
from mailbridge.store.sql import Sql

_cursor = schema.cursor.c
_CURSOR: Final = select(schema.cursor).where(_cursor.mailbox == bindparam("mailbox"), _cursor.folder == bindparam("folder"))
_KEY: Final = ("mailbox", "folder")
_SAVE_CURSOR: Final = Prepared(insert_or_replace(schema.cursor, _KEY, [*_KEY, "uidvalidity", "last_uid"]))
_MARK_PROCESSED: Final = Prepared(insert_or_ignore(schema.processed_mail))
_processed = schema.processed_mail.c
_NEWEST: Final = select(_processed.mailbox, _processed.at).order_by(_processed.at.desc()).limit(2000)


class Mailboxes:
    """See `store.interface.Mailboxes`."""

    __slots__ = ("_sql",)

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def cursor(self, mailbox: str, folder: str) -> Cursor | None:
        found = self._sql.rows(_CURSOR, mailbox=mailbox, folder=folder)
        return Cursor(uidvalidity=found[0]["uidvalidity"], last_uid=found[0]["last_uid"]) if found else None

    def save_cursor(self, mailbox: str, folder: str, cursor: Cursor) -> None:
        row = {"mailbox": mailbox, "folder": folder, "uidvalidity": cursor.uidvalidity, "last_uid": cursor.last_uid}
        self._sql.change(_SAVE_CURSOR, row)

    def last_mails(self) -> dict[str, datetime]:
        found: dict[str, datetime] = {}
        for row in self._sql.rows(_NEWEST):
            found.setdefault(row["mailbox"], row["at"])
        return found

    def mark_processed(self, mailbox: str, digest: str, now: datetime) -> bool:
        return self._sql.change(_MARK_PROCESSED, {"mailbox": mailbox, "digest": digest, "at": now}) == 1
