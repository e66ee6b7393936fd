"""Finds the fax that an address names, if the user may see it."""

from __future__ import annotations

from typing import Any

from mailbridge.console.visit import Visit
from mailbridge.control import queries
from mailbridge.errors import NotFound


async def find_fax(visit: Visit) -> dict[str, Any]:
    """Return the fax that the path names, as `mailbridge show` has it. Raises NotFound, also for one that is not the user's."""
    fax = await queries.show(visit.console.runtime.store, id=visit.path("id"))
    if visit.user.own is not None and fax.get("user") != visit.user.own:
        raise NotFound("not this user's fax")
    return fax
