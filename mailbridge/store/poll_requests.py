"""Requests to ask MyFax about a fax at once, limited in their rate, for all nodes and mailboxes together."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import bindparam, delete, or_

from mailbridge.model import Fax
from mailbridge.store import schema
from mailbridge.store.faxes import Faxes
from mailbridge.store.on_conflict import insert_or_ignore
from mailbridge.store.sql import Sql

# An untrusted report makes mailbridge ask MyFax; a flood of forged ones must not make it flood MyFax.
INTERVAL: Final = timedelta(minutes=1)
_at = schema.poll_request.c.at
# One of the future was made before the clock was set back.
_FORGET: Final = delete(schema.poll_request).where(or_(_at <= bindparam("before"), _at > bindparam("now")))
_ADD: Final = insert_or_ignore(schema.poll_request)


class PollRequests:
    """See `store.fax_interface.PollRequests`."""

    __slots__ = ("_faxes", "_sql")

    def __init__(self, sql: Sql, faxes: Faxes) -> None:
        self._sql, self._faxes = sql, faxes

    def request(self, fax: Fax, now: datetime) -> None:
        if fax.state != "submitted":
            return
        self._sql.execute(_FORGET, {"before": now - INTERVAL, "now": now})
        if self._sql.execute(_ADD, {"fax_id": fax.id, "at": now}).rowcount:
            self._faxes.update(fax.id, due_at=now)
