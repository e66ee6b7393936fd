"""OAuth 2.0 tokens of mailboxes: one process at a time asks the provider for new ones, and all nodes use what it got.

A provider may refuse a refresh token for ever once it was used twice.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import bindparam, select, update

from mailbridge.store import schema
from mailbridge.store.on_conflict import insert_or_replace
from mailbridge.store.sql import Sql

# Longer than a request takes. A process that was killed meanwhile asks no more.
_ASKING: Final = timedelta(seconds=45)
_token = schema.oauth_token.c
_GET: Final = select(schema.oauth_token).where(_token.mailbox == bindparam("name"))
_PUT: Final = insert_or_replace(schema.oauth_token, ["mailbox"], [column.name for column in schema.oauth_token.columns])
_RELEASE: Final = (
    update(schema.oauth_token)
    .where(_token.mailbox == bindparam("name"), _token.asked_by == bindparam("by"))
    .values(asked_by=None, asked_until=None)
)


class TokenClaim(NamedTuple):
    """What a process that needs an access token does: use this one, wait and ask again, or ask the provider.

    For that it has a `refresh_token`, or the configured one if that is None.
    """

    refresh_token: str | None = None
    access_token: str | None = None
    renew_at: datetime | None = None  # when the access token is too old
    wait: bool = False  # another process asks the provider now


class OAuthTokens:
    """See `store.interface.OAuthTokens`."""

    __slots__ = ("_sql",)

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def claim(self, mailbox: str, configured: str, refused: str, by: str, now: datetime) -> TokenClaim:
        self._sql.lock([_lock(mailbox)])
        row = next(iter(self._sql.rows(_GET, name=mailbox)), None)
        if row is None or row["configured"] != configured:
            row = dict.fromkeys(column.name for column in schema.oauth_token.columns)
        if row["access_token"] not in (None, refused) and row["renew_at"] > now:
            return TokenClaim(access_token=row["access_token"], renew_at=row["renew_at"])
        # One who asks for much longer did so before the clock was set back. `now` may be from before a wait for the lock.
        if row["asked_by"] not in (None, by) and now < row["asked_until"] <= now + 2 * _ASKING:
            return TokenClaim(wait=True)
        asking: dict[str, Any] = {"mailbox": mailbox, "configured": configured, "asked_by": by, "asked_until": now + _ASKING}
        self._sql.execute(_PUT, row | asking)
        return TokenClaim(refresh_token=row["refresh_token"])

    def keep(self, mailbox: str, configured: str, refresh_token: str | None, access_token: str, renew_at: datetime) -> None:
        self._sql.lock([_lock(mailbox)])
        row = next(iter(self._sql.rows(_GET, name=mailbox)), None)
        # Who was stopped for long comes late: nobody asks now, and another process has got newer tokens meanwhile.
        if row is not None and row["configured"] == configured and row["asked_by"] is None and _is_newer(row, renew_at):
            return
        kept = {"refresh_token": refresh_token, "access_token": access_token, "renew_at": renew_at}
        named = {"mailbox": mailbox, "configured": configured, "asked_by": None, "asked_until": None}
        self._sql.execute(_PUT, kept | named)

    def release(self, mailbox: str, by: str) -> None:
        self._sql.execute(_RELEASE, {"name": mailbox, "by": by})


def _is_newer(row: dict[str, Any], renew_at: datetime) -> bool:
    return row["renew_at"] is not None and bool(row["renew_at"] > renew_at)


def _lock(mailbox: str) -> str:
    return f"oauth2 {mailbox}"
