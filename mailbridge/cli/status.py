"""`status`: the status of a fax at MyFax, by its FAX_CODE."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mailbridge.cli.myfax_call import by_account, configuration
from mailbridge.cli.options import EXITS, account_option, config_option, json_option
from mailbridge.cli.output import plain, print_json
from mailbridge.errors import NotTaken
from mailbridge.retry import poll_delay

if TYPE_CHECKING:
    from mailbridge.config import FaxOptions
    from mailbridge.myfax import MyFax, StatusAnswer


@click.command(epilog=EXITS)
@click.argument("fax_code")
@click.option("--watch", is_flag=True, help="Repeat until the status is final; exit 0 if delivered, otherwise 1.")
@account_option
@json_option
@config_option
def status(fax_code: str, watch: bool, account: str | None, as_json: bool, config_path: Path) -> int:
    """Query the status of a fax at MyFax by its FAX_CODE. Works without a daemon, also for faxes that others sent.

    For a fax of mailbridge, `mailbridge show` prints the FAX_CODE.

    \b
      mailbridge status 3cf6c2ae-0000-0000-0000-000000000000 --watch
    """
    config = configuration(config_path)

    async def work(myfax: MyFax) -> dict[str, Any]:
        return await (_watch(myfax, fax_code, config.fax, as_json) if watch else _ask(myfax, fax_code))

    answer = by_account(config, account, work)
    if as_json:
        print_json(answer)
    elif not watch:
        click.echo(_line(answer))
    return 0 if not watch or answer["outcome"] == "delivered" else 1


async def _ask(myfax: MyFax, fax_code: str) -> dict[str, Any]:
    return _payload(fax_code, await myfax.status(fax_code))


async def _watch(myfax: MyFax, fax_code: str, fax: FaxOptions, silent: bool) -> dict[str, Any]:
    """Poll at growing intervals until the status is final, also if MyFax does not answer now and then."""
    polls, printed = 0, ""
    while True:
        try:
            answer = await _ask(myfax, fax_code)
        except NotTaken as error:
            click.echo(f"mailbridge: {error}; trying again", err=True)
        else:
            if not silent and printed != (printed := _line(answer)):
                click.echo(printed)
            if answer["outcome"] != "pending":
                return answer
        await asyncio.sleep(poll_delay(polls, fax.first_poll, fax.slowest_poll, random.random()))
        polls += 1


def _payload(fax_code: str, answer: StatusAnswer) -> dict[str, Any]:
    from mailbridge.myfax import describe, status_outcome

    outcome = status_outcome(answer.status, answer.final)
    unknown = answer.printed_status if answer.status is None else None
    return {
        "fax_code": fax_code,
        "status": answer.status,
        "final": answer.final,
        "outcome": outcome.kind,
        "error": outcome.error,
        "message": describe(answer.status) if unknown is None else f"MyFax gave the unknown status {unknown}.",
        "price": None if answer.price is None else str(answer.price),
        "credit_left": None if answer.credit_left is None else str(answer.credit_left),
    }


def _line(answer: dict[str, Any]) -> str:
    outcome = answer["outcome"] + (f" ({answer['error']})" if answer["error"] else "")
    facts = [f"{name.replace('_', ' ')} {answer[name]}" for name in ("price", "credit_left") if answer[name] is not None]
    return plain("  ".join([f"{outcome}: {answer['message']}", *facts]))
