"""Ids as people give them: whole, or the last characters of one, as tables show them, if only one id ends so."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mailbridge.errors import ControlError, NotFound
from mailbridge.store.interface import Transaction

_WHOLE = re.compile(r"(fax|evt|dlv)_[0-9A-Z]{26}")
_ENDING = re.compile(r"[0-9A-Z]{4,25}", re.IGNORECASE | re.ASCII)
_TOKEN = re.compile(r"MB-[0-9A-Z]{8}", re.IGNORECASE | re.ASCII)


def whole_fax_id(tx: Transaction, id: str) -> str:
    """Return the id of the fax that is meant; also its token will do. Raises NotFound, ControlError if several are meant."""
    if _WHOLE.fullmatch(id) or not (_ENDING.fullmatch(_ending(id)) or _TOKEN.fullmatch(id)):
        return id
    return _only(tx.search.fax_ids(_ending(id)), id, "fax")


def whole_event_or_delivery_id(tx: Transaction, id: str) -> str:
    """Return the id of the event or delivery that is meant. Raises NotFound, ControlError if several are meant."""
    ending = _ending(id)
    if _WHOLE.fullmatch(id) or not _ENDING.fullmatch(ending):
        return id
    return _only([*tx.search.event_ids(ending), *tx.search.delivery_ids(ending)], id, "event or delivery")


def _ending(id: str) -> str:
    return id.removeprefix("fax_").removeprefix("evt_").removeprefix("dlv_")


def _only(found: Sequence[str], id: str, kind: str) -> str:
    if not found:
        raise NotFound(f"no {kind} has the id {id}")
    if len(found) > 1:
        raise ControlError(f"{id} is the end of several ids ({', '.join(found[:3])}); give more of its characters")
    return found[0]
