"""The statements that every fax needs, named and built once: to build one costs as much as to run it.

A statement's bind parameters say what it needs; a list is given as a list. Those of an UPDATE's WHERE are named `was_…`.
Statements that a person or a sweep asks for now and then are built where they are used.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from sqlalchemy import BindParameter, Text, Update, bindparam, cast, func, insert, select, type_coerce, update
from sqlalchemy.dialects.sqlite import insert as upsert

from mailbridge.store import schema

_envelope, _fax, _event, _delivery = schema.envelope.c, schema.fax.c, schema.event.c, schema.delivery.c
_IN_FLIGHT = ("uploading", "in_doubt", "submitted")


def _any(name: str) -> BindParameter[object]:
    return bindparam(name, expanding=True)


# The way in.
_FIRST = (
    select(_envelope.id)
    .where(_envelope.key == bindparam("key"), _envelope.received_at >= bindparam("since"))
    .order_by(_envelope.received_at)
    .limit(1)
).scalar_subquery()
FAX_IDS_BY_KEY: Final = select(_fax.id).where(_fax.envelope_id == _FIRST).order_by(_fax.id)
ADD_ENVELOPE: Final = insert(schema.envelope)
ADD_FAX: Final = insert(schema.fax)

# Faxes.
FAX_BY_ID: Final = select(schema.fax).where(_fax.id == bindparam("id"))
_DUE = select(schema.fax).where(_fax.state == bindparam("state"), _fax.due_at <= bindparam("now"))
_OF_ACCOUNT = _fax.account == bindparam("account")
DUE_FAXES: Final = _DUE.order_by(_fax.due_at).limit(bindparam("limit"))
DUE_FAXES_OF_ACCOUNT: Final = _DUE.where(_OF_ACCOUNT).order_by(_fax.due_at).limit(bindparam("limit"))
NEXT_DUE: Final = select(func.min(_fax.due_at)).where(_fax.state == bindparam("state"))
NEXT_DUE_OF_ACCOUNT: Final = NEXT_DUE.where(_OF_ACCOUNT)
EXPIRED_FAXES: Final = (
    select(schema.fax)
    .where(_fax.state.in_(("queued", "submitted")), _fax.expires_at <= bindparam("now"))
    .order_by(_fax.expires_at)
    .limit(bindparam("limit"))
)
FAXES_BY_TOKENS: Final = select(schema.fax).where(_fax.token.in_(_any("tokens")))
FAXES_BY_CODES: Final = select(schema.fax).where(func.lower(_fax.fax_code).in_(_any("codes")))
# Two questions, since an OR would read every fax that ever went to the number.
_TO_NUMBERS = select(schema.fax).where(_fax.number.in_(_any("numbers")))
FAXES_IN_FLIGHT_TO: Final = _TO_NUMBERS.where(_fax.final_at.is_(None), _fax.state.in_(_IN_FLIGHT))
FAXES_ENDED_TO: Final = _TO_NUMBERS.where(_fax.final_at >= bindparam("since"))


@lru_cache(maxsize=256)
def change_fax(names: frozenset[str]) -> Update:
    """Return the compare-and-set that changes these columns of the fax `was_id` in `was_state` after `was_seq` events."""
    unchanged = (_fax.id == bindparam("was_id"), _fax.state == bindparam("was_state"), _fax.seq == bindparam("was_seq"))
    return update(schema.fax).where(*unchanged).values({name: bindparam(name) for name in names})


# A clock that was set. A fax that was never tried may wait for the time that its sender asked for.
_OPEN = ("queued", "uploading", "in_doubt", "submitted")
_BY = bindparam("by", type_=schema.Elapsed)
SHIFT_DEADLINES: Final = (
    update(schema.fax).where(_fax.state.in_(_OPEN)).values(expires_at=type_coerce(_fax.expires_at, schema.Elapsed) + _BY),
    update(schema.fax)
    .where(_fax.state.in_(_OPEN), cast(_fax.attempts, Text) != "[]")
    .values(due_at=type_coerce(_fax.due_at, schema.Elapsed) + _BY),
    update(schema.delivery)
    .where(_delivery.state == "pending")
    .values(due_at=type_coerce(_delivery.due_at, schema.Elapsed) + _BY),
)
SHIFT_RECEIPTS: Final = (
    update(schema.receipt)
    .where(schema.receipt.c.due_at.is_not(None))
    .values(due_at=type_coerce(schema.receipt.c.due_at, schema.Elapsed) + _BY)
)
SHIFT_MAILS: Final = (
    update(schema.envelope)
    .where(_envelope.received_at >= bindparam("since"))
    .values(received_at=type_coerce(_envelope.received_at, schema.Elapsed) + _BY)
)

# The outbox.
ADD_EVENT: Final = insert(schema.event)
ADD_DELIVERY: Final = insert(schema.delivery)
EVENT_BY_ID: Final = select(schema.event).where(_event.id == bindparam("id"))
EVENTS_BY_IDS: Final = select(schema.event).where(_event.id.in_(_any("ids")))
DELIVERY_BY_ID: Final = select(schema.delivery).where(_delivery.id == bindparam("id"))
_PENDING = (_delivery.endpoint == bindparam("endpoint"), _delivery.state == "pending")
DUE_DELIVERIES: Final = (
    select(schema.delivery)
    .where(*_PENDING, _delivery.due_at <= bindparam("now"))
    .order_by(_delivery.due_at)
    .limit(bindparam("limit"))
)
NEXT_DELIVERY: Final = select(func.min(_delivery.due_at)).where(*_PENDING)
CLAIM_DELIVERIES: Final = (
    update(schema.delivery)
    .where(_delivery.id.in_(_any("ids")), _delivery.state == "pending")
    .values(state=bindparam("to_state"), attempts=_delivery.attempts + 1, settled_at=None)
)
SETTLE_DELIVERY: Final = (
    update(schema.delivery)
    .where(_delivery.id == bindparam("was_id"), _delivery.state == bindparam("was_state"))
    .values({name: bindparam(name) for name in ("state", "due_at", "attempts", "status", "error", "settled_at")})
)

# The mailbox.
_place = upsert(schema.cursor).values({name: bindparam(name) for name in ("mailbox", "folder", "uidvalidity", "last_uid")})
ADVANCE: Final = _place.on_conflict_do_update(
    index_elements=["mailbox", "folder"],
    set_={"uidvalidity": _place.excluded.uidvalidity, "last_uid": _place.excluded.last_uid},
)
NOTE_HANDLED: Final = (
    upsert(schema.handled).values({name: bindparam(name) for name in ("mailbox", "digest", "at")}).on_conflict_do_nothing()
)
