"""`events` and `deliveries`: the events, and their deliveries to webhooks."""

from __future__ import annotations

from datetime import tzinfo
from pathlib import Path
from typing import Any, get_args

import click

from mailbridge.cli.options import (
    EXITS,
    between,
    config_option,
    environment,
    json_option,
    limit_option,
    since_option,
    until_option,
)
from mailbridge.cli.output import local, plain, print_json, print_table, short_id, short_time
from mailbridge.cli.store_query import ask, find_zone
from mailbridge.errors import ConfigError
from mailbridge.lifecycle import DeliveryState

_STATES = ", ".join(get_args(DeliveryState))


@click.command(epilog=EXITS)
@click.option("--fax", metavar="ID", help="Only events of this fax.")
@click.option("--type", "type_", metavar="TYPE", help="Only events of this type, such as fax.failed.")
@since_option
@until_option
@click.option(
    "--schema",
    metavar="[TYPE]",
    is_flag=False,
    flag_value="*",
    help="Print the JSON Schema of an event type, or of all types.",
)
@click.option("--openapi", is_flag=True, help="Print the OpenAPI description of all event types.")
@click.option("--raw", is_flag=True, help="With --json: data as it is stored, with the documents' paths in the spool.")
@limit_option
@json_option
@config_option
def events(
    fax: str | None,
    type_: str | None,
    since: str | None,
    until: str | None,
    schema: str | None,
    openapi: bool,
    raw: bool,
    limit: int,
    as_json: bool,
    config_path: Path,
) -> None:
    """List events, newest first. With --json, data is as webhooks get it, with links to received documents.

    \b
      mailbridge events --fax fax_01M87C14PBQ5WTSC4GKPEBFKJX
      mailbridge events --type fax.failed --since 2026-11-01
      mailbridge events --schema fax.delivered
    """
    if schema is not None or openapi:
        _print_schema(schema or "openapi")
        return
    if raw and not as_json:
        raise click.UsageError("--raw requires --json")
    if type_ is not None:
        _check_type(type_)
    zone = find_zone(config_path)
    found = ask(config_path, "events", fax=fax, limit=limit, type=type_, raw=raw, **between(since, until, zone))
    if as_json:
        print_json(found)
        return
    rows = [(local(e["at"], zone), e["type"], short_id(e["fax_id"]), e["seq"], short_id(e["id"])) for e in found]
    print_table(("AT", "TYPE", "FAX", "SEQ", "ID"), rows, "no events")


@click.command(epilog=EXITS)
@click.option("--dead", is_flag=True, help="Only deliveries that were given up.")
@click.option("--state", metavar="STATE", type=click.Choice(get_args(DeliveryState)), help=f"Only in this state: {_STATES}.")
@click.option("--endpoint", metavar="NAME", help="Only to this webhook.")
@click.option("--event", metavar="ID", help="Only deliveries of this event, with every try and what the receiver answered.")
@since_option
@until_option
@limit_option
@json_option
@config_option
def deliveries(
    dead: bool,
    state: str | None,
    endpoint: str | None,
    event: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    as_json: bool,
    config_path: Path,
) -> None:
    """List deliveries to webhooks, notices by mail, and documents to folders, newest first.

    Deliveries to a webhook that was removed from the configuration stay pending. To discard them, use
    mailbridge replay --endpoint NAME --retire.

    \b
      mailbridge deliveries --dead
      mailbridge deliveries --endpoint crm --since 2026-11-26
      mailbridge deliveries --event evt_01M87C14PBQ5WTSC4GKPEBFKJX
    """
    if dead and state is not None:
        raise click.UsageError("--dead is --state dead; give one of them")
    zone = find_zone(config_path)
    filters = {"dead": dead, "state": state, "endpoint": endpoint, "event": event, **between(since, until, zone)}
    found = ask(config_path, "deliveries", limit=limit, **filters)
    names = _webhooks(config_path) if found else None
    found = [{**one, "configured": None if names is None else one["to"] is not None or one["endpoint"] in names} for one in found]
    if as_json:
        print_json(found)
        return
    _print_deliveries(found, "no dead deliveries" if dead else "no deliveries", zone)
    for one in found if event is not None else ():
        _print_tries(one, zone)


def _print_deliveries(found: list[dict[str, Any]], empty: str, zone: tzinfo) -> None:
    heads = ("ENDPOINT", "TYPE", "STATE", "TRIES", "STATUS", "NEXT OR LAST", "EVENT", "ERROR")
    rows = [
        (
            _endpoint(d),
            d["type"],
            d["state"],
            d["attempts"],
            d["status"],
            short_time(d["settled_at"] or d["due_at"], zone),
            short_id(d["event_id"]),
            d["error"],
        )
        for d in found
    ]
    print_table(heads, rows, empty, prose=("ERROR",))


def _endpoint(delivery: dict[str, Any]) -> str:
    """Return where a delivery goes: the webhook, or the address or folder of a notice."""
    if delivery["to"] is not None:
        return f"{delivery['endpoint']} {delivery['to']}"
    notes = ["not configured"] if delivery["configured"] is False else []
    notes += ["stopped"] if delivery["stopped"] else []
    return f"{delivery['endpoint']} ({', '.join(notes)})" if notes else str(delivery["endpoint"])


def _print_tries(delivery: dict[str, Any], zone: tzinfo) -> None:
    click.echo(f"\n{plain(delivery['endpoint'])}, {delivery['id']}:")
    rows = [(local(t["at"], zone), f"{t['milliseconds']} ms", t["status"], t["error"], t["answer"]) for t in delivery["tries"]]
    print_table(("TRY", "TOOK", "STATUS", "ERROR", "ANSWER"), rows, "no try yet", prose=("ERROR", "ANSWER"))


def _check_type(type_: str) -> None:
    from mailbridge.webhook import schemas

    if type_ not in schemas.EVENTS:
        raise click.UsageError(f"unknown event type {type_!r}; use one of {', '.join(schemas.EVENTS)}")


def _print_schema(type_: str) -> None:
    from mailbridge import __version__
    from mailbridge.webhook import openapi, schemas

    if type_ == "openapi":
        print_json(openapi.description(__version__))
        return
    if type_ != "*":
        _check_type(type_)
    print_json({name: schemas.schema(name) for name in schemas.EVENTS} if type_ == "*" else schemas.schema(type_))


def _webhooks(config_path: Path) -> frozenset[str] | None:
    """Return the webhooks of the configuration, None if the user may not read it."""
    from mailbridge.config import load

    try:
        return frozenset(load(config_path, environment(config_path)).webhooks)
    except (ConfigError, OSError):
        return None
