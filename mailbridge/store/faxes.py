"""Faxes: queries, and the compare-and-set that changes one together with the events of the change."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import fields, replace
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, Final, cast

from sqlalchemy import ColumnElement, Executable, Select, bindparam, func, insert, literal_column, select, update

from mailbridge import lifecycle, metrics
from mailbridge.errors import UploadSuperseded
from mailbridge.lifecycle import FaxState, FaxTrigger
from mailbridge.model import Event, Fax, last_attempt
from mailbridge.store import rivals, rows, schema
from mailbridge.store.counters import counters
from mailbridge.store.events import Events
from mailbridge.store.multi_insert import insert_rows
from mailbridge.store.notices import Notices
from mailbridge.store.prepared import Prepared
from mailbridge.store.sql import Overtaken, Sql, any_of

_fax = schema.fax.c
_FIELDS: Final = tuple(field.name for field in fields(Fax))
# Statements that every fax needs are built once: building one takes as long as running it.
_ONE = select(schema.fax).where(_fax.id == bindparam("id"))
_BY_ID: Final = Prepared(_ONE)
# Where other processes write too, what a transaction reads to change it stays as it is until the transaction ends.
_BY_ID_LOCKED: Final = Prepared(_ONE.with_for_update())
_ALL_DUE = select(schema.fax).where(_fax.state == bindparam("state"), _fax.due_at <= bindparam("now"))
_OF_ACCOUNT = _fax.account == bindparam("account")
_DUE: Final = Prepared(_ALL_DUE.order_by(_fax.due_at).limit(bindparam("limit")))
_DUE_OF_ACCOUNT: Final = Prepared(_ALL_DUE.where(_OF_ACCOUNT).order_by(_fax.due_at).limit(bindparam("limit")))
# A call that is under way: the fax is on its way to MyFax, or MyFax has it and dials.
_calling = schema.fax.alias("calling")
_CALLING: Final[tuple[ColumnElement[str], ...]] = (literal_column("'uploading'"), literal_column("'submitted'"))
_CALLS_TO_ITS_NUMBER = (
    select(func.count())
    .where(_calling.c.number == _fax.number, _calling.c.state.in_(_CALLING))
    .correlate(schema.fax)
    .scalar_subquery()
)
# Users take turns. Of each that has queued faxes, the first due one that may be called is found along the index `fax_turn`.
_QUEUED: Final[ColumnElement[str]] = literal_column("'queued'")
_OWNER: Final[ColumnElement[str]] = literal_column(schema.OWNER)
_QUEUED_OF_ACCOUNT: Final = (_fax.state == _QUEUED, _OF_ACCOUNT)


def _next_owner(before: ColumnElement[str]) -> Select[Any]:
    return select(_OWNER).where(*_QUEUED_OF_ACCOUNT, before < _OWNER).order_by(_OWNER).limit(1)


# The first turn is that of the next owner after the last one, or of the very first behind the last of all.
_first_turn = func.coalesce(
    _next_owner(bindparam("after")).scalar_subquery(), _next_owner(literal_column("''")).scalar_subquery()
)
_owners = select(_first_turn.label("owner")).cte("owners", recursive=True)
_next = _next_owner(_owners.c.owner).correlate(_owners).scalar_subquery()
_owners = _owners.union_all(select(_next).where(_owners.c.owner.is_not(None)))
_FIRST_OF_OWNER = (
    select(_fax.id)
    .where(*_QUEUED_OF_ACCOUNT, _owners.c.owner == _OWNER, _fax.due_at <= bindparam("now"))
    .where((bindparam("per_number") == 0) | (bindparam("per_number") > _CALLS_TO_ITS_NUMBER))
    .order_by(_fax.due_at)
    .limit(1)
    .correlate(_owners)
    .scalar_subquery()
)
_turn = schema.fax.alias("turn")
_DUE_UPLOADS: Final = Prepared(
    select(_turn)
    .join_from(_owners, _turn, _turn.c.id == _FIRST_OF_OWNER)
    .limit(bindparam("limit"))  # in the order of `owners`: with an ORDER BY, SQLite would read all of them
)
# Other nodes claim too: what they have claimed since the statement began is left out, and so is what they are claiming. The ids
# are an array, or PostgreSQL would read every queued fax to join them.
_FIRST_OF_OWNERS: Final = func.any(func.array(select(_FIRST_OF_OWNER).select_from(_owners).scalar_subquery()))
_DUE_UPLOADS_OF_ALL: Final = Prepared(
    select(_turn)
    .where(_turn.c.id == _FIRST_OF_OWNERS, _turn.c.state == _QUEUED)
    .order_by(_OWNER)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
)
# A function of the state, or SQLite would read every queued fax along an index by state.
_WAITING_FOR_NUMBER: Final = Prepared(
    select(_fax.account)
    .distinct()
    .where(_fax.number == bindparam("number"), _fax.final_at.is_(None), func.coalesce(_fax.state, "") == _QUEUED)
    .limit(100)
)
_FIRST_DUE = select(func.min(_fax.due_at)).where(_fax.state == bindparam("state"))
_NEXT_DUE: Final = Prepared(_FIRST_DUE)
_NEXT_DUE_OF_ACCOUNT: Final = Prepared(_FIRST_DUE.where(_OF_ACCOUNT))
_EXPIRED: Final = Prepared(
    select(schema.fax)
    .where(_fax.state.in_((_QUEUED, literal_column("'submitted'"))), _fax.expires_at <= bindparam("now"))
    .order_by(_fax.expires_at)
    .limit(bindparam("limit"))
)
_BY_TOKENS: Final = Prepared(select(schema.fax).where(_fax.token.in_(any_of("tokens"))))
_former = schema.former_token.c
_BY_FORMER_TOKENS: Final = (
    select(schema.fax).join(schema.former_token, _fax.id == _former.fax_id).where(_former.token.in_(any_of("tokens")))
)
_ADD_FORMER_TOKEN: Final = Prepared(insert(schema.former_token))
_BY_FAX_CODES: Final = select(schema.fax).where(func.lower(_fax.fax_code).in_(any_of("codes")))
# Two queries, since an OR would read every fax that was ever sent to the number.
_TO_NUMBERS = select(schema.fax).where(_fax.number.in_(any_of("numbers")))
_OPEN_TO_NUMBERS: Final = _TO_NUMBERS.where(_fax.final_at.is_(None), _fax.state.in_(("uploading", "in_doubt", "submitted")))
_FINAL_TO_NUMBERS: Final = _TO_NUMBERS.where(_fax.final_at >= bindparam("since"))
_CREDIT: Final = Prepared(
    select(_fax.credit_left)
    .where(_fax.account == bindparam("account"), _fax.credit_left.is_not(None), _fax.final_at.is_not(None))
    .order_by(_fax.final_at.desc())
    .limit(1)
)


@lru_cache(maxsize=256)
def _change(names: frozenset[str]) -> Prepared:
    """Return the compare-and-set that changes these columns of the fax `was_id` in `was_state` after `was_seq` events.

    Each upload has its own token: an upload that another one has replaced changes nothing.
    """
    was = {_fax.state: "was_state", _fax.seq: "was_seq", _fax.token: "was_token"}
    unchanged = (_fax.id == bindparam("was_id"), *(column == bindparam(name) for column, name in was.items()))
    return Prepared(update(schema.fax).where(*unchanged).values({name: bindparam(name) for name in names}))


class Faxes:
    """See `store.fax_interface.Faxes`. A fax that this transaction has read is not read again: half of the reads were that."""

    __slots__ = ("_by_id", "_due_uploads", "_events", "_known", "_notices", "_read", "_sql")

    def __init__(self, sql: Sql, events: Events, notices: Notices) -> None:
        self._sql, self._events, self._notices = sql, events, notices
        self._by_id = _BY_ID_LOCKED if sql.shared else _BY_ID
        self._due_uploads = _DUE_UPLOADS_OF_ALL if sql.shared else _DUE_UPLOADS
        self._known: dict[str, Fax] = {}
        self._read: dict[str, Fax] = {}  # but not locked: another node may have changed it since

    def begin(self) -> None:
        """Forget what an earlier transaction has read."""
        self._known.clear()
        self._read.clear()

    def add(self, fax: Fax, now: datetime) -> None:
        self.add_all([(fax, now)])

    def add_all(self, faxes: Sequence[tuple[Fax, datetime]]) -> list[Event]:
        """Store faxes as queued, each at its time; return the event `fax.queued` of each."""
        queued = [(replace(fax, seq=fax.seq + 1), now) for fax, now in faxes]
        insert_rows(self._sql.connection, schema.fax, [rows.fax_row(fax) for fax, _ in queued])
        self._sql.topics.update({f"upload:{fax.account}" for fax, _ in queued})
        return self._events.emit_fax_events("fax.queued", queued)

    def get(self, fax_id: str) -> Fax:
        known = self._known.get(fax_id)
        if known is None:
            known = self._known[fax_id] = rows.to_fax(self._sql.one(self._by_id, fax_id, "fax"))
            if self._read.get(fax_id, known) != known:
                raise Overtaken(f"{fax_id} was changed by another process")
        return known

    def newest(self, state: FaxState | None = None, limit: int = 100) -> list[Fax]:
        chosen = select(schema.fax).order_by(_fax.id.desc()).limit(limit)
        return self._found(chosen if state is None else chosen.where(_fax.state == state))

    def counts(self) -> dict[FaxState, int]:
        return {row["state"]: row["n"] for row in counters(self._sql, "fax")}

    def due(self, state: FaxState, now: datetime, account: str | None = None, limit: int = 1) -> list[Fax]:
        if account is None:
            return self._found(_DUE, state=state, now=now, limit=limit)
        return self._found(_DUE_OF_ACCOUNT, state=state, now=now, account=account, limit=limit)

    def due_uploads(self, now: datetime, account: str, per_number: int, limit: int, after: str = "") -> list[Fax]:
        facts, query = {"now": now, "account": account, "per_number": per_number}, self._due_uploads
        found = self._found(query, **facts, limit=limit, after=after)
        if len(found) < limit and after and not (found and found[0].owner <= after):
            found += self._found(query, **facts, limit=limit - len(found), after="")
        return list({fax.id: fax for fax in found}.values())

    def may_call(self, number: str, per_number: int, *, again: bool) -> bool:
        return rivals.may_call(self._sql, number, per_number, again=again)

    def free_uploads(self, account: str, uploads: int) -> int:
        return rivals.free_uploads(self._sql, account, uploads)

    def interrupted(self, *, own: bool = False, limit: int = 1000) -> list[Fax]:
        left = rivals.nobody_works_on("fax", self._sql, own=own)
        chosen = select(schema.fax).where(_fax.state == "uploading", left).order_by(_fax.id.desc()).limit(limit)
        return self._found(chosen)

    def next_due(self, state: FaxState, account: str | None = None) -> datetime | None:
        if account is None:
            return cast("datetime | None", self._sql.value(_NEXT_DUE, state=state))
        return cast("datetime | None", self._sql.value(_NEXT_DUE_OF_ACCOUNT, state=state, account=account))

    def expired(self, now: datetime, limit: int = 100) -> list[Fax]:
        return self._found(_EXPIRED, now=now, limit=limit)

    def by_tokens(self, tokens: Collection[str]) -> list[Fax]:
        found = self._found(_BY_TOKENS, tokens=list(tokens))
        if len(found) < len(tokens):
            found += self._found(_BY_FORMER_TOKENS, tokens=list(tokens))
        return list({fax.id: fax for fax in found}.values())

    def by_fax_codes(self, codes: Collection[str]) -> list[Fax]:
        if not codes:
            return []
        return self._found(_BY_FAX_CODES, codes=[code.lower() for code in codes])

    def by_numbers(self, numbers: Collection[str], since: datetime) -> list[Fax]:
        if not numbers:
            return []
        unfinished = self._found(_OPEN_TO_NUMBERS, numbers=list(numbers))
        return unfinished + self._found(_FINAL_TO_NUMBERS, numbers=list(numbers), since=since)

    def _found(self, query: Executable | Prepared, **parameters: Any) -> list[Fax]:
        found = [rows.to_fax(row) for row in self._sql.rows(query, **parameters)]
        (self._read if self._sql.shared else self._known).update((fax.id, fax) for fax in found)
        return found

    def transition(self, fax_id: str, trigger: FaxTrigger, now: datetime, **changes: Any) -> Fax:
        before = self.get(fax_id)
        transition = lifecycle.fax_transition(before.state, trigger)
        if before.state in lifecycle.FAX_FINAL:
            after = before
        else:
            final_at = now if transition.state in lifecycle.FAX_FINAL else None
            after = replace(before, state=transition.state, final_at=final_at, **changes)
        if trigger == "claim":
            self._sql.check_lease()
            after = replace(after, node=self._sql.node_id)
        event_id = ""
        for type_ in transition.events:
            after = replace(after, seq=after.seq + 1)
            event_id = self._events.emit_fax_events(type_, [(after, now)])[0].id
        if after.final_at is not None and before.final_at is None:
            self._count_final(transition.events[-1], after, now)
        self._write(before, after)
        self._notices.fax_changed(before.state, after, event_id, now)
        return after

    def _count_final(self, type_: str, fax: Fax, now: datetime) -> None:
        begun = fax.attempts[0].started_at if fax.attempts else fax.created_at
        error, seconds = fax.failure.code if fax.failure else "", max(0.0, (now - begun).total_seconds())
        self._sql.after_commit.append(partial(metrics.fax_finished, type_, fax.account, error, fax.pages, seconds))

    def credit_left(self, account: str) -> str | None:
        return cast("str | None", self._sql.value(_CREDIT, account=account))

    def mark_whole(self, fax_id: str, n: int, at: datetime) -> None:
        self._sql.check_lease()
        before = self.get(fax_id)
        if before.state != "uploading" or len(before.attempts) != n or before.node != self._sql.node_id:
            raise UploadSuperseded(f"{fax_id} is {before.state}, and upload {n} is not the present one")
        self._write(before, replace(before, attempts=last_attempt(before, whole_at=at)))

    def update(self, fax_id: str, **changes: Any) -> Fax:
        before = self.get(fax_id)
        after = replace(before, **changes)
        self._write(before, after)
        return after

    def _write(self, before: Fax, after: Fax) -> None:
        changed = rows.fax_values({name: now for name in _FIELDS if (now := getattr(after, name)) != getattr(before, name)})
        if not changed:
            return
        was = {"was_id": before.id, "was_state": before.state, "was_seq": before.seq, "was_token": before.token}
        if self._sql.change(_change(frozenset(changed)), {**changed, **was}) != 1:
            raise Overtaken(f"{before.id} was changed by another process")
        self._known[after.id] = after
        if "token" in changed:
            self._sql.change(_ADD_FORMER_TOKEN, {"token": before.token, "fax_id": before.id})
        if {"state", "due_at"} & changed.keys():
            self._notify(before, after)

    def _notify(self, before: Fax, after: Fax) -> None:
        if after.state == "queued":
            self._sql.topics.add(f"upload:{after.account}")
        elif after.state == "submitted":
            self._sql.topics.add("poll")
        if before.state in ("uploading", "submitted") and after.state not in ("uploading", "submitted"):
            waiting = self._sql.rows(_WAITING_FOR_NUMBER, number=after.number)
            self._sql.topics.update(f"upload:{row['account']}" for row in waiting)
