"""`hold` and `resume`: a person stops and starts the sending of faxes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mailbridge.cli.options import EXITS, config_option, json_option
from mailbridge.cli.output import print_json
from mailbridge.cli.store_query import ask, find_accounts, person

_account = click.option("--account", metavar="NAME", help="Only the faxes of this MyFax account.  [default: all]")


@click.command(epilog=EXITS)
@_account
@json_option
@config_option
def hold(account: str | None, as_json: bool, config_path: Path) -> None:
    """Stop sending: accept mail, keep every fax queued, and let uploads under way finish. Lasts over a restart.

    A fax that is held does not expire.

    \b
      mailbridge hold
      mailbridge hold --account office
    """
    _change("hold", account, as_json, config_path)


@click.command(epilog=EXITS)
@_account
@json_option
@config_option
def resume(account: str | None, as_json: bool, config_path: Path) -> None:
    """Send again what mailbridge hold has kept queued. Without --account this ends every hold.

    It also ends the pause of an account after three uploads without an answer.

    \b
      mailbridge resume
    """
    _change("resume", account, as_json, config_path)


def _change(command: str, account: str | None, as_json: bool, config_path: Path) -> None:
    names = find_accounts(config_path)
    if account is not None and account not in names:
        raise click.UsageError(f"unknown account {account!r}; use one of {', '.join(names)}")
    answer: dict[str, Any] = ask(config_path, command, account=account, by=person())
    if as_json:
        print_json(answer)
        return
    held = "all accounts" if answer["held"] == "all" else ", ".join(answer["held"])
    state = f"sending of {held} is held" if held else "sending goes on"
    click.echo(f"{state}; {answer['queued']:,} faxes are queued")
