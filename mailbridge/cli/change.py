"""`cancel`, `retry`, `resolve` and `replay`: what a person may do to faxes and deliveries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mailbridge.cli.ask import ask
from mailbridge.cli.options import config_option, json_option
from mailbridge.cli.output import print_json


@click.command()
@click.argument("id")
@json_option
@config_option
def cancel(id: str, as_json: bool, config_path: Path) -> None:
    """Cancel a fax that waits to be uploaded."""
    _tell(ask(config_path, "cancel", id=id), as_json, f"{id} is cancelled")


@click.command()
@click.argument("id")
@json_option
@config_option
def retry(id: str, as_json: bool, config_path: Path) -> None:
    """Send a waiting fax now, or one that failed once more.

    A fax that failed or was cancelled stays what it is: a new one with its documents is queued, and its id is printed.
    """
    fax = ask(config_path, "retry", id=id)
    _tell(fax, as_json, f"{id} is due now" if fax["id"] == id else f"queued again as {fax['id']}")


@click.command()
@click.argument("id")
@click.option("--sent", "as_", flag_value="sent", help="MyFax did take it: it counts as delivered, or is followed by its code.")
@click.option(
    "--resend", "as_", flag_value="resend", help="MyFax did not take it: upload it again. A wrong word here faxes twice."
)
@click.option("--failed", "as_", flag_value="failed", help="It was not sent, and shall not be.")
@click.option("--fax-code", metavar="CODE", help="With --sent: MyFax's FAX_CODE, to follow the fax to its end.")
@json_option
@config_option
def resolve(id: str, as_: str | None, fax_code: str | None, as_json: bool, config_path: Path) -> None:
    """End the doubt about a fax whose upload's answer was lost.

    Look first whether it was sent: MyFax's site lists the sent faxes, and the recipient can be asked.
    """
    if as_ is None:
        raise click.UsageError("say what became of it: --sent, --resend or --failed")
    if fax_code is not None and as_ != "sent":
        raise click.UsageError("--fax-code goes with --sent")
    fax = ask(config_path, "resolve", id=id, as_=as_, fax_code=fax_code)
    _tell(fax, as_json, f"{id} is {fax['state']}")


@click.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@json_option
@config_option
def replay(ids: tuple[str, ...], as_json: bool, config_path: Path) -> None:
    """Deliver again what was given up, by the ids of events or deliveries."""
    replayed = ask(config_path, "replay", ids=list(ids))
    _tell(replayed, as_json, *(f"{one['id']} to {one['endpoint']} is pending" for one in replayed))


def _tell(answer: Any, as_json: bool, *lines: str) -> None:
    if as_json:
        print_json(answer)
        return
    for line in lines:
        click.echo(line)
