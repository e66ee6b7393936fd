"""Checks a PostgreSQL database for `mailbridge check`: everything that it lacks, instead of the first fault only."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import psycopg
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError

from mailbridge.errors import MailbridgeError
from mailbridge.model import new_id
from mailbridge.store.postgres_connection import connect
from mailbridge.store.postgres_connection import engine as engine_of
from mailbridge.store.postgres_faults import PostgresFaults
from mailbridge.store.postgres_requirements import check_schema, rights_faults, server_faults

# Seconds until a notification must have arrived. A server passes it on in milliseconds.
_NOTIFIED_WITHIN: Final = 3.0
_NOW: Final = text("SELECT clock_timestamp()")


class Found(NamedTuple):
    """What a check has found."""

    server: str  # its name and version; empty if it could not be reached
    faults: tuple[str, ...]  # that keep a daemon from starting, each with its remedy
    is_heard: bool  # whether notifications arrive, by which nodes wake each other
    ahead: timedelta  # by how much the server's clock is ahead of this machine's


def check(url: str, listen_url: str, *, unsafe: bool) -> Found:
    """Check a database, blocking. Nothing is changed in it. Raises StoreUnavailable for a URL that cannot be read."""
    engine = engine_of(url)
    try:
        with engine.begin() as connection:
            server, faults = _check(connection, unsafe)
            ahead = connection.execute(_NOW).scalar_one() - datetime.now(UTC)
    except DBAPIError as error:
        return Found("", (str(PostgresFaults().not_reached(error)),), False, timedelta())
    finally:
        engine.dispose()
    try:
        return Found(server, faults, _hears(url, listen_url), ahead)
    except psycopg.Error as error:
        # The server of store.url answers, so it is listen_url that leads nowhere.
        fault = f"store.listen_url cannot be used ({' '.join(str(error).split())})"
        return Found(server, (*faults, fault), False, ahead)


def _check(connection: Connection, unsafe: bool) -> tuple[str, tuple[str, ...]]:
    faults = list(server_faults(connection, unsafe=unsafe))
    lacking = list(rights_faults(connection, migrated=inspect(connection).has_table("meta")))
    if not lacking:
        try:
            check_schema(connection)
        except MailbridgeError as error:
            lacking = [str(error)]
    version = connection.exec_driver_sql("SHOW server_version").scalar_one()
    return f"PostgreSQL {version}", (*faults, *lacking)


def _hears(url: str, listen_url: str) -> bool:
    """Return whether a notification that is sent by one connection reaches another. Raises psycopg.Error."""
    channel = new_id("check").lower()
    with contextlib.closing(connect(listen_url)) as listening, contextlib.closing(connect(url)) as sending:
        listening.execute(f"LISTEN {channel}")
        sending.execute("SELECT pg_notify(%s, '')", (channel,))
        return any(True for _ in listening.notifies(timeout=_NOTIFIED_WITHIN, stop_after=1))
