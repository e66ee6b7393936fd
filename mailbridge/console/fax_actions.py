"""What people do with a sent fax. Each action is asked once, with its consequence, and is that of `mailbridge.control`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal, cast

from starlette.responses import Response

from mailbridge.console.fax_lookup import find_sent_fax
from mailbridge.console.fax_page import actions_of
from mailbridge.console.visit import Visit
from mailbridge.control import fax_actions
from mailbridge.errors import ControlError, Refused

_OUTCOMES = ("sent", "failed", "resend")
_COMMANDS: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {
    "cancel": fax_actions.cancel,
    "retry": fax_actions.retry,
    "resolve": fax_actions.resolve,
}


async def ask_cancel(visit: Visit) -> Response:
    """Ask whether to cancel a fax."""
    return await _ask(visit, "cancel")


async def ask_retry(visit: Visit) -> Response:
    """Ask whether to send a fax again, or now."""
    return await _ask(visit, "retry")


async def ask_resolve(visit: Visit) -> Response:
    """Ask how to resolve a doubt."""
    return await _ask(visit, "resolve")


async def _ask(visit: Visit, action: str, error: str | None = None) -> Response:
    fax = await find_sent_fax(visit)
    if action not in actions_of(visit, fax):
        return _not_possible(visit, fax)
    return visit.page("fax_action.html", 400 if error else 200, fax=fax, action=action, outcomes=_OUTCOMES, error=error)


def _not_possible(visit: Visit, fax: dict[str, Any]) -> Response:
    return visit.message("not_possible", 409, state=visit.display.state(fax["state"]))


async def cancel(visit: Visit) -> Response:
    """Cancel a fax."""
    return await _act(visit, "cancel", {})


async def retry(visit: Visit) -> Response:
    """Send a fax again, or now."""
    # An operator decides for others; a sender's rules and daily limit are those of a new fax.
    check = None if visit.user.sees_all else visit.console.services.drafts.check_again
    try:
        return await _act(visit, "retry", {"check": check})
    except Refused as refusal:
        return visit.message("draft_refused", 422, sentence=refusal.reply.split(" ", 2)[2])


async def resolve(visit: Visit) -> Response:
    """Resolve a doubt as a person decides."""
    form = await visit.form()
    outcome, code = form.get("as", ""), form.get("fax_code", "").strip()[:100]
    if outcome not in _OUTCOMES:
        return await _ask(visit, "resolve", "resolve.choose")
    choice = cast(Literal["sent", "resend", "failed"], outcome)
    return await _act(visit, "resolve", {"as_": choice, "fax_code": code if outcome == "sent" and code else None})


async def _act(visit: Visit, action: str, arguments: dict[str, Any]) -> Response:
    fax = await find_sent_fax(visit)
    if action not in actions_of(visit, fax):
        return _not_possible(visit, fax)
    runtime = visit.console.runtime
    try:
        changed = await _COMMANDS[action](runtime.store, runtime.clock, id=fax["id"], by=visit.actor(), **arguments)
    except ControlError:
        # It has changed since the page was read.
        return _not_possible(visit, await find_sent_fax(visit))
    return visit.redirect(f"/faxes/{changed['id']}", action)
