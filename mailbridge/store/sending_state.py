"""Whether the faxes of an account may be uploaded: held back by a person, or paused since uploads get no answer.

All nodes see the same, and it survives a restart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import bindparam, delete, select, update

from mailbridge.store import schema
from mailbridge.store.on_conflict import insert_or_replace
from mailbridge.store.prepared import Prepared
from mailbridge.store.sql import Sql

HELD: Final = "condition: sending is held"
_meta = schema.meta.c
# Asked before each upload: building it would take as long as running it.
_STATE: Final = Prepared(
    select(_meta.key, _meta.value).where(_meta.key.in_([bindparam(name) for name in ("all", "one", "pause")]))
)
_SET: Final = insert_or_replace(schema.meta, ["key"], ["key", "value"])
_CHANGE: Final = update(schema.meta).where(_meta.key == bindparam("pause")).values(value=bindparam("new"))
_END: Final = delete(schema.meta).where(_meta.key == bindparam("pause"))


class SendingState(NamedTuple):
    """Whether a person holds an account back, how many of its uploads in a row got no answer, and until when it is paused.

    After that time it still counts as paused, for one upload as a trial, until MyFax answers.
    """

    held: bool = False
    doubts: int = 0
    paused_until: datetime | None = None


def paused_condition(account: str) -> str:
    """Return the name of the condition that a pause was reported."""
    return f"account {account} is paused"


def held_key(account: str | None) -> str:
    """Return the key in `meta` that holds back an account, None for all."""
    return HELD if account is None else f"{HELD} {account}"


class Sending:
    """See `store.fax_interface.Sending`."""

    __slots__ = ("_sql",)

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def state(self, account: str) -> SendingState:
        keys = {"all": held_key(None), "one": held_key(account), "pause": _pause_key(account)}
        found = self._sql.rows(_STATE, **keys)
        return _state(account, found) if found else SendingState()

    def add_doubt(self, account: str, most: int, until: datetime) -> SendingState:
        # Two nodes may lose an answer at the same moment.
        self._sql.lock([_pause_key(account)])
        doubts = self.state(account).doubts + 1
        paused_until = until if doubts >= most else None
        self._sql.execute(_SET, {"key": _pause_key(account), "value": _value(doubts, paused_until)})
        return SendingState(doubts=doubts, paused_until=paused_until)

    def pause_until(self, account: str, until: datetime) -> SendingState:
        self._sql.lock([_pause_key(account)])
        state = self.state(account)
        if state.paused_until is None:
            return state
        self._sql.execute(_CHANGE, {"pause": _pause_key(account), "new": _value(state.doubts, until)})
        return state._replace(paused_until=until)

    def answered(self, account: str, *, doubts: bool) -> bool:
        if not (doubts or self._sql.shared):
            return False
        self._sql.lock([_pause_key(account)])
        was_paused = self.state(account).paused_until is not None
        self._sql.execute(_END, {"pause": _pause_key(account)})
        if was_paused:
            self._sql.topics.add(f"upload:{account}")  # other nodes wait for its end
        return was_paused

    def paused(self) -> list[str]:
        prefix = _pause_key("")
        keys = self._sql.connection.scalars(select(_meta.key).where(_meta.key.startswith(prefix)))
        accounts = sorted(key.removeprefix(prefix) for key in keys)
        return [account for account in accounts if self.state(account).paused_until is not None]


def _pause_key(account: str) -> str:
    return f"pause: {account}"


def _value(doubts: int, until: datetime | None) -> str:
    return json.dumps({"doubts": doubts, "until": until and until.isoformat()})


def _state(account: str, found: Sequence[Mapping[str, Any]]) -> SendingState:
    values = {row["key"]: row["value"] for row in found}
    pause = json.loads(values.pop(_pause_key(account), '{"doubts": 0, "until": null}'))
    return SendingState(bool(values), pause["doubts"], pause["until"] and datetime.fromisoformat(pause["until"]))
