"""`events` and `deliveries`: the outbox."""

from __future__ import annotations

from pathlib import Path

import click

from mailbridge.cli.options import EXITS, config_option, environment, json_option, limit_option
from mailbridge.cli.output import local, print_json, print_table
from mailbridge.cli.store_query import ask
from mailbridge.errors import ConfigError


@click.command(epilog=EXITS)
@click.option("--fax", metavar="ID", help="Only events of this fax.")
@click.option(
    "--schema",
    metavar="[TYPE]",
    is_flag=False,
    flag_value="*",
    help="Print the JSON Schema of a type, or of all.",
)
@limit_option
@json_option
@config_option
def events(fax: str | None, schema: str | None, limit: int, as_json: bool, config_path: Path) -> None:
    """List events, the newest first.

    \b
      mailbridge events --fax fax_01M87C14PBQ5WTSC4GKPEBFKJX
      mailbridge events --schema fax.delivered
    """
    if schema is not None:
        _print_schema(schema)
        return
    found = ask(config_path, "events", fax=fax, limit=limit)
    if as_json:
        print_json(found)
        return
    rows = [(local(e["at"]), e["type"], e["fax_id"], e["seq"], e["id"]) for e in found]
    print_table(("AT", "TYPE", "FAX", "SEQ", "ID"), rows, "no events")


@click.command(epilog=EXITS)
@click.option("--dead", is_flag=True, help="Only those that were given up.")
@limit_option
@json_option
@config_option
def deliveries(dead: bool, limit: int, as_json: bool, config_path: Path) -> None:
    """List deliveries to webhooks, the newest first.

    What waits for a webhook that left the configuration stays; mailbridge replay --endpoint NAME --retire gives it up.

    \b
      mailbridge deliveries --dead
    """
    found = ask(config_path, "deliveries", dead=dead, limit=limit)
    names = _webhooks(config_path) if found else None
    found = [{**one, "configured": None if names is None else one["endpoint"] in names} for one in found]
    if as_json:
        print_json(found)
        return
    heads = ("ENDPOINT", "TYPE", "STATE", "TRIES", "STATUS", "NEXT OR LAST", "EVENT", "ERROR")
    rows = [
        (
            f"{d['endpoint']} (not configured)" if d["configured"] is False else d["endpoint"],
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


def _print_schema(type_: str) -> None:
    from mailbridge.webhook import schemas

    if type_ != "*" and type_ not in schemas.EVENTS:
        raise click.UsageError(f"{type_!r} is no type of an event; use one of {', '.join(schemas.EVENTS)}")
    print_json({name: schemas.schema(name) for name in schemas.EVENTS} if type_ == "*" else schemas.schema(type_))


def _webhooks(config_path: Path) -> frozenset[str] | None:
    """Return the names in the configuration, or None to a person who cannot read all of it."""
    from mailbridge.config import load

    try:
        return frozenset(load(config_path, environment(config_path)).webhooks)
    except (ConfigError, OSError):
        return None
