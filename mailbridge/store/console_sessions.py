"""Logins to the console. The browser has a random token; the store has its hash alone."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, delete, insert, select

from mailbridge.store import schema
from mailbridge.store.console_interface import ConsoleSession
from mailbridge.store.sql import Sql

_session = schema.console_session.c
_BY_HASH: Final = select(schema.console_session).where(_session.hash == bindparam("hash"))


class ConsoleSessions:
    """See `store.console_interface.ConsoleSessions`."""

    __slots__ = ("_sql",)

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def add(self, session: ConsoleSession, most: int) -> None:
        self._sql.execute(delete(schema.console_session).where(_session.expires_at <= session.created_at))
        newest = select(_session.id).where(_session.user == session.user).order_by(_session.id.desc()).limit(most - 1)
        others = (_session.user == session.user, _session.id.not_in(newest))
        self._sql.execute(delete(schema.console_session).where(*others))
        self._sql.execute(insert(schema.console_session), session._asdict())

    def get(self, hash: str, now: datetime) -> ConsoleSession | None:
        found = [ConsoleSession(**row) for row in self._sql.rows(_BY_HASH, hash=hash)]
        return next((one for one in found if one.expires_at > now), None)

    def of_user(self, user: str | None, now: datetime) -> list[ConsoleSession]:
        chosen = select(schema.console_session).where(_session.expires_at > now).order_by(_session.id.desc())
        if user is not None:
            chosen = chosen.where(_session.user == user)
        return [ConsoleSession(**row) for row in self._sql.rows(chosen)]

    def end(self, id: str, user: str | None) -> ConsoleSession | None:
        this = [_session.id == id] if user is None else [_session.id == id, _session.user == user]
        found = self._sql.rows(select(schema.console_session).where(*this))
        self._sql.execute(delete(schema.console_session).where(*this))
        return ConsoleSession(**found[0]) if found else None
