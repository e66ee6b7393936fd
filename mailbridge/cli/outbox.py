"""`events` and `deliveries`: the outbox."""

from __future__ import annotations

from pathlib import Path

import click

from mailbridge.cli.ask import ask
from mailbridge.cli.options import config_option, json_option, limit_option
from mailbridge.cli.output import local, print_json, print_table


@click.command()
@click.option("--fax", metavar="ID", help="Only events of this fax.")
@limit_option
@json_option
@config_option
def events(fax: str | None, limit: int, as_json: bool, config_path: Path) -> None:
    """List events, the newest first."""
    found = ask(config_path, "events", fax=fax, limit=limit)
    if as_json:
        print_json(found)
        return
    rows = [(local(e["at"]), e["type"], e["fax_id"], e["seq"], e["id"]) for e in found]
    print_table(("AT", "TYPE", "FAX", "SEQ", "ID"), rows, "no events")


@click.command()
@click.option("--dead", is_flag=True, help="Only those that were given up.")
@limit_option
@json_option
@config_option
def deliveries(dead: bool, limit: int, as_json: bool, config_path: Path) -> None:
    """List deliveries to webhooks, the newest first."""
    found = ask(config_path, "deliveries", dead=dead, limit=limit)
    if as_json:
        print_json(found)
        return
    heads = ("ENDPOINT", "TYPE", "STATE", "TRIES", "STATUS", "NEXT OR LAST", "EVENT", "ERROR")
    rows = [
        (
            d["endpoint"],
            d["type"],
            d["state"],
            d["attempts"],
            d["status"],
            local(d["settled_at"] or d["due_at"]),
            d["event_id"],
            d["error"],
        )
        for d in found
    ]
    print_table(heads, rows, "no dead deliveries" if dead else "no deliveries")
