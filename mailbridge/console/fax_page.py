"""A sent fax: its story, its documents, and what may be done about it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from starlette.responses import Response

from mailbridge.console.fax_lookup import find_fax
from mailbridge.console.fax_story import tell
from mailbridge.console.page_images import pages_of
from mailbridge.console.visit import Visit
from mailbridge.store.interface import Transaction
from mailbridge.store.retention_interface import AuditLine

# By state: what may be done, in the order of the buttons.
ACTIONS: dict[str, tuple[str, ...]] = {
    "queued": ("retry", "cancel"),
    "in_doubt": ("resolve",),
    "failed": ("retry",),
    "cancelled": ("retry",),
}
_OF_SENDERS = ("retry", "cancel")


async def show_fax(visit: Visit) -> Response:
    """Show one fax, with everything that happened to it."""
    fax = await find_fax(visit)
    if fax.get("direction") == "inbound":
        return visit.redirect(f"/received/{fax['id']}")
    done_by_people = await people(visit, fax["id"])
    values: dict[str, Any] = {"fax": fax, "story": tell(visit, fax, done_by_people), "actions": actions_of(visit, fax)}
    values |= {"waits_for": await _waits_for(visit, fax), "is_ahead": _is_ahead(visit, fax)}
    # Only the rest of the page changes.
    pages = [] if visit.is_part else await pages_of(visit, fax)
    return visit.changing_page("fax.html", "fax_part.html", **values, documents=pages, path=f"/faxes/{fax['id']}")


async def _waits_for(visit: Visit, fax: dict[str, Any]) -> str | None:
    """Return why a queued fax is not sent although it may be due: held or account_paused."""
    if fax["state"] != "queued":
        return None
    account, now = fax["account"], visit.now

    def work(tx: Transaction) -> str | None:
        if tx.sending.state(account).held:
            return "held"
        return "account_paused" if ("account_paused", account) in tx.alerts.causes(now) else None

    return await visit.console.runtime.store.run(work)


def _is_ahead(visit: Visit, fax: dict[str, Any]) -> bool:
    """Whether a fax waits for a time that has not come: the one that its mail asked for, or that of its next try."""
    return fax["state"] == "queued" and datetime.fromisoformat(fax["due_at"]) > visit.now


async def people(visit: Visit, fax_id: str) -> list[AuditLine]:
    """Return what people did with a fax."""
    return await visit.console.runtime.store.run(lambda tx: tx.audit.newest(fax_id))


def actions_of(visit: Visit, fax: dict[str, Any]) -> tuple[str, ...]:
    """Return what the user may do with this fax in its present state."""
    possible = ACTIONS.get(fax["state"], ())
    if fax["state"] in ("failed", "cancelled") and any(document["deleted"] for document in fax["documents"]):
        possible = ()
    allowed = {"operator": possible, "sender": _OF_SENDERS, "viewer": ()}[visit.user.role]
    return tuple(action for action in possible if action in allowed)
