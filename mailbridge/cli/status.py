"""`status`: what MyFax says of a fax, by its FAX_CODE."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mailbridge.cli.myfax_call import account_option, by_account, configuration
from mailbridge.cli.options import EXITS, config_option, json_option
from mailbridge.cli.output import plain, print_json
from mailbridge.errors import NotTaken
from mailbridge.retry import poll_delay

if TYPE_CHECKING:
    from mailbridge.config import FaxOptions
    from mailbridge.myfax import MyFax, StatusAnswer


@click.command(epilog=EXITS)
@click.argument("fax_code")
@click.option("--watch", is_flag=True, help="Ask again until it is final; exit 0 when it was delivered, else 1.")
@account_option
@json_option
@config_option
def status(fax_code: str, watch: bool, account: str | None, as_json: bool, config_path: Path) -> int:
    """Ask MyFax about a fax by its FAX_CODE, also one that was sent elsewhere. No daemon is needed.

    `show` tells the FAX_CODE of a fax of mailbridge's own.

    \b
      mailbridge status 3cf6c2ae-0000-0000-0000-000000000000 --watch
    """
    config = configuration(config_path)

    async def work(myfax: MyFax) -> dict[str, Any]:
        return await (_watch(myfax, fax_code, config.fax, as_json) if watch else _ask(myfax, fax_code))

    told = by_account(config, account, work)
    if as_json:
        print_json(told)
    elif not watch:
        click.echo(_line(told))
    return 0 if not watch or told["outcome"] == "delivered" else 1


async def _ask(myfax: MyFax, fax_code: str) -> dict[str, Any]:
    return _told(fax_code, await myfax.status(fax_code))


async def _watch(myfax: MyFax, fax_code: str, fax: FaxOptions, silent: bool) -> dict[str, Any]:
    """Ask until the fax is final, ever less often; what MyFax does not answer is asked again."""
    polls, said = 0, ""
    while True:
        try:
            told = await _ask(myfax, fax_code)
        except NotTaken as error:
            click.echo(f"mailbridge: {error}; asking again", err=True)
        else:
            if not silent and said != (said := _line(told)):
                click.echo(said)
            if told["outcome"] != "pending":
                return told
        await asyncio.sleep(poll_delay(polls, fax.first_poll, fax.slowest_poll, random.random()))
        polls += 1


def _told(fax_code: str, answer: StatusAnswer) -> dict[str, Any]:
    from mailbridge.myfax import describe, status_outcome

    outcome = status_outcome(answer.status, answer.final)
    unread = answer.printed_status if answer.status is None else None
    return {
        "fax_code": fax_code,
        "status": answer.status,
        "final": answer.final,
        "outcome": outcome.kind,
        "error": outcome.error,
        "message": describe(answer.status) if unread is None else f"MyFax gave the unknown status {unread}.",
        "price": None if answer.price is None else str(answer.price),
        "credit_left": None if answer.credit_left is None else str(answer.credit_left),
    }


def _line(told: dict[str, Any]) -> str:
    outcome = told["outcome"] + (f" ({told['error']})" if told["error"] else "")
    facts = [f"{name.replace('_', ' ')} {told[name]}" for name in ("price", "credit_left") if told[name] is not None]
    return plain("  ".join([f"{outcome}: {told['message']}", *facts]))
