"""Finds the fax that an address names, if the user may see it."""

from __future__ import annotations

from typing import Any

from mailbridge.console.visit import Visit
from mailbridge.control import queries
from mailbridge.errors import ControlError, NotFound


async def find_fax(visit: Visit) -> dict[str, Any]:
    """Return the fax that the path names, as `mailbridge show` has it. Raises NotFound, also for one that is not the user's."""
    try:
        fax = await queries.show(visit.console.runtime.store, id=visit.path("id"))
    except ControlError as error:  # the end of several ids, which a command would list
        raise NotFound(str(error)) from None
    if visit.user.own is not None and fax.get("user") != visit.user.own:
        raise NotFound("not this user's fax")
    return fax


async def find_sent_fax(visit: Visit) -> dict[str, Any]:
    """Return the sent fax that the path names. Raises NotFound, also for a received one, as `find_fax` does."""
    fax = await find_fax(visit)
    if fax.get("direction") == "inbound":
        raise NotFound("not a sent fax")
    return fax
