"""`nodes`: the daemons that share a PostgreSQL database."""

from __future__ import annotations

from pathlib import Path

import click

from mailbridge.cli.options import EXITS, config_option, json_option
from mailbridge.cli.output import plain, print_json, print_table, short_id, short_time
from mailbridge.cli.store_query import ask, find_zone, is_shared


@click.command(epilog=EXITS)
@json_option
@config_option
def nodes(as_json: bool, config_path: Path) -> None:
    """List the daemons that share a PostgreSQL database, each with what it does alone.

    A daemon that was killed, or cannot reach the database, is ended after 30 seconds; others go on with its work. It is listed
    for a day. With SQLite there is one daemon, and nothing is listed.

    \b
      mailbridge nodes
    """
    found = ask(config_path, "nodes")
    if as_json:
        print_json(found)
        return
    zone = find_zone(config_path)
    rows = [
        (
            plain(node["name"]),
            short_id(node["id"]),
            node["version"],
            "works" if node["alive"] else "ended",
            short_time(node["started_at"], zone),
            short_time(node["seen_at"], zone),
            plain(", ".join(node["leases"])),
        )
        for node in found
    ]
    empty = "no daemon works on the database" if is_shared(config_path) else "with SQLite there is one daemon"
    print_table(("NAME", "ID", "VERSION", "STATE", "STARTED", "SEEN", "LEASES"), rows, empty, prose=("LEASES",))
