"""Hold and resume: an operator stops and starts the sending of an account, or of all. Each is asked once."""

from __future__ import annotations

from typing import Final, Literal

from starlette.responses import Response

from mailbridge.console.visit import Visit
from mailbridge.control import fax_actions
from mailbridge.errors import ControlError, NotFound
from mailbridge.store.interface import Transaction
from mailbridge.store.retention_interface import AuditLine

Action = Literal["hold", "resume"]
_COMMANDS: Final = {"hold": fax_actions.hold, "resume": fax_actions.resume}


async def ask(action: Action, visit: Visit) -> Response:
    """Ask whether to hold or to resume sending; without an account in the query, that of all accounts."""
    return visit.page("sending_action.html", action=action, account=_known(visit, visit.query("account")))


async def act(action: Action, visit: Visit) -> Response:
    """Hold or resume sending."""
    account = _known(visit, (await visit.form()).get("account", ""))
    runtime = visit.console.runtime
    try:
        await _COMMANDS[action](runtime.store, runtime.clock, account=account, by=visit.actor())
    except ControlError:  # all accounts are held meanwhile
        return visit.redirect("/system")
    return visit.redirect("/system", action)


def holds(tx: Transaction) -> dict[str, AuditLine | None]:
    """Return the accounts whose sending a person holds, "" for all, with who did it and when, where that is known."""
    return {name: _hold(tx, name) for name in tx.conditions.held_sending()}


def _hold(tx: Transaction, account: str) -> AuditLine | None:
    lines = tx.audit.newest(account or fax_actions.ALL_ACCOUNTS)
    return next((line for line in lines if line.what == fax_actions.HOLD), None)


def _known(visit: Visit, account: str) -> str | None:
    if account and account not in visit.console.config.accounts:
        raise NotFound("no such account")
    return account or None
