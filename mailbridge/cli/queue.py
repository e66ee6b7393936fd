"""`queue`: lists faxes, sent or received."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from mailbridge.cli.options import EXITS, between, config_option, json_option, limit_option, since_option, until_option
from mailbridge.cli.output import print_json, print_table, short_id, short_time
from mailbridge.cli.show import reason
from mailbridge.cli.store_query import ask, find_zone
from mailbridge.lifecycle import FaxState

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

C = TypeVar("C", bound=Callable[..., Any])

_FILTERS = (
    click.option(
        "--state",
        metavar="STATE",
        type=click.Choice(get_args(FaxState)),
        help=f"Only faxes in this state: {', '.join(get_args(FaxState))}.",
    ),
    click.option("--number", metavar="NUMBER", help="Only to this number, its last digits, or a prefix with +."),
    click.option("--user", metavar="NAME", help="Only of this [user.NAME]."),
    click.option("--account", metavar="NAME", help="Only by this MyFax account."),
    click.option("--from", "sender", metavar="TEXT", help="Only of senders whose address contains this."),
    click.option("--subject", metavar="TEXT", help="Only with this in the subject."),
    click.option("--tag", metavar="KEY[=VALUE]", help="Only with this tag."),
    since_option,
    until_option,
)


def _filters(command: C) -> C:
    for option in reversed(_FILTERS):
        command = option(command)
    return command


@click.command(epilog=EXITS)
@_filters
@click.option("--received", is_flag=True, help="Received faxes and voicemails instead; takes --since and --until alone.")
@limit_option
@json_option
@config_option
def queue(
    received: bool, limit: int, as_json: bool, config_path: Path, since: str | None, until: str | None, **filters: str | None
) -> None:
    """List faxes, newest first. Other commands take an ID as it is shown here.

    \b
      mailbridge queue --state in_doubt
      mailbridge queue --number 03-9876543 --since 2026-11-01
      mailbridge queue --user scanner --tag case=1723 --json
      mailbridge queue --received
    """
    given = {name: value for name, value in filters.items() if value is not None}
    if received and given:
        raise click.UsageError("--received can be combined with --since and --until alone")
    zone = find_zone(config_path)
    given |= {name: value for name, value in between(since, until, zone).items() if value is not None}
    found = ask(config_path, "received" if received else "queue", limit=limit, **given)
    if as_json:
        print_json(found)
    elif received:
        _print_received(found, zone)
    else:
        if names := ask(config_path, "held"):
            what = "all accounts" if "" in names else ", ".join(names)
            click.echo(f"mailbridge: sending of {what} is held; mailbridge resume ends that", err=True)
        _print_sent(found, zone, _empty(given))


def _print_received(found: list[dict[str, Any]], zone: ZoneInfo) -> None:
    heads = ("ID", "RECEIVED", "FROM", "TO", "PAGES", "TRUSTED", "SUBJECT", "FILE")
    rows = [
        (
            *(short_id(fax["id"]), short_time(fax["received_at"], zone), fax["from"], fax["to"], fax["pages"]),
            *("yes" if fax["trusted"] else "no", fax["subject"], fax["document"] and fax["document"]["filename"]),
        )
        for fax in found
    ]
    print_table(heads, rows, "no received faxes", prose=("SUBJECT", "FILE"))


def _print_sent(found: list[dict[str, Any]], zone: ZoneInfo, empty: str) -> None:
    heads = ("ID", "STATE", "NUMBER", "CREATED", "TRIES", "USER", "FROM", "SUBJECT", "TAGS", "SEND AT", "REASON")
    rows = [
        (
            *(short_id(fax["id"]), fax["state"], fax["number"], short_time(fax["created_at"], zone), fax["tries"], fax["user"]),
            *(fax["sender"], fax["subject"], tags(fax), short_time(fax["send_at"], zone), reason(fax)),
        )
        for fax in found
    ]
    print_table(heads, rows, empty, prose=heads[6:])


def tags(fax: dict[str, Any]) -> str:
    """Return the tags of a fax in one line."""
    return ", ".join(f"{key}={value}" for key, value in fax["tags"].items())


def _empty(given: Mapping[str, str | None]) -> str:
    if not given:
        return "no faxes"
    return f"no faxes in state {given['state']}" if given.keys() == {"state"} else "no such faxes"
