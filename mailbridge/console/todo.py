"""The first page: what waits for a person."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from mailbridge.console.visit import Visit
from mailbridge.errors import StoreUnavailable
from mailbridge.model import Fax
from mailbridge.store.interface import Transaction
from mailbridge.store.notice_records import Alert
from mailbridge.store.state_dir import disk_space

_DOUBTS: Final = 10  # that are listed
_LEAST_FREE: Final = 0.05  # of the disk
# In this order: what may have been sent twice or not at all comes first.
_ORDER: Final = (
    *("in_doubt", "disk", "account_refused", "account_paused", "credit_low", "held"),
    *("mailbox_down", "webhook_stopped", "delivery_dead", "relay"),
)


@dataclass(frozen=True, slots=True)
class Todo:
    """What waits for a person, and how many faxes are in each state."""

    causes: Sequence[Alert]
    doubts: Sequence[Fax]
    counts: dict[str, int]

    @property
    def waiting(self) -> int:
        """How many faxes are not final."""
        return sum(self.counts.get(state, 0) for state in ("queued", "uploading", "submitted", "in_doubt"))


async def show_todo(visit: Visit) -> Response:
    """Show what waits for a person. A sender has nothing to do here, and gets all faxes that this user sent."""
    if not visit.user.sees_all:
        return visit.redirect("/faxes")
    return visit.changing_page("todo.html", "todo_part.html", todo=await find_todo(visit))


async def find_todo(visit: Visit) -> Todo:
    """Return what waits for a person."""
    now = visit.now

    def work(tx: Transaction) -> Todo:
        causes = list(tx.alerts.causes(now).values())
        causes += [Alert(cause="held", name=name, since=now) for name in tx.conditions.held_sending()]
        return Todo(causes, tx.faxes.newest("in_doubt", _DOUBTS), {str(state): n for state, n in tx.faxes.counts().items()})

    found = await visit.console.runtime.store.run(work)
    disk = await asyncio.to_thread(_disk, visit)
    causes = sorted([*found.causes, *disk], key=lambda one: (_ORDER.index(one.cause), one.name))
    return Todo(causes, found.doubts, found.counts)


def _disk(visit: Visit) -> list[Alert]:
    """Return whether the disk is nearly full, or cannot be written."""
    try:
        disk = disk_space(visit.console.config.state_dir)
    except OSError as error:
        raise StoreUnavailable(f"the state_dir cannot be read ({error.strerror})") from None
    if disk.size and disk.free / disk.size < _LEAST_FREE:
        return [Alert(cause="disk", since=visit.now, count=disk.free)]
    return []
