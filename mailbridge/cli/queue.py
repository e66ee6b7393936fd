"""`queue` and `show`: faxes and their history."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click

from mailbridge.cli.options import EXITS, config_option, fax_argument, json_option, limit_option
from mailbridge.cli.output import local, plain, print_json, print_table
from mailbridge.cli.store_query import ask
from mailbridge.lifecycle import FaxState


@click.command(epilog=EXITS)
@click.option(
    "--state",
    metavar="STATE",
    type=click.Choice(get_args(FaxState)),
    help=f"Only faxes in this state: {', '.join(get_args(FaxState))}.",
)
@limit_option
@json_option
@config_option
def queue(state: str | None, limit: int, as_json: bool, config_path: Path) -> None:
    """List faxes, newest first.

    \b
      mailbridge queue --state in_doubt
      mailbridge queue --limit 5 --json
    """
    faxes = ask(config_path, "queue", state=state, limit=limit)
    if as_json:
        print_json(faxes)
        return
    heads = ("ID", "STATE", "NUMBER", "CREATED", "TRIES", "FROM", "SUBJECT", "REASON")
    rows = [
        (f["id"], f["state"], f["number"], local(f["created_at"]), f["tries"], f["sender"], f["subject"], reason(f))
        for f in faxes
    ]
    print_table(heads, rows, "no faxes" if state is None else f"no faxes in state {state}", prose=("FROM", "SUBJECT", "REASON"))


@click.command(epilog=EXITS)
@fax_argument
@json_option
@config_option
def show(id: str, as_json: bool, config_path: Path) -> None:
    """Show the history of a fax: its documents, what of its mail was not faxed, attempts, events and webhook deliveries.

    \b
      mailbridge show fax_01M87C14PBQ5WTSC4GKPEBFKJX
    """
    fax = ask(config_path, "show", id=id)
    if as_json:
        print_json(fax)
    else:
        click.echo("\n".join(history(fax)))


def reason(fax: dict[str, Any]) -> str:
    """Return why a fax failed, in one line; empty if it did not."""
    failure = fax["failure"]
    if failure is None:
        return ""
    number = "" if failure["provider_code"] is None else f" ({failure['provider_code']})"
    return f"{failure['code']}{number}: {failure['message']}"


def history(fax: dict[str, Any]) -> list[str]:
    """Return the history of a fax as lines of text."""
    facts = {
        "state": fax["state"],
        "reason": reason(fax),
        "number": fax["number"],
        "account": fax["account"],
        "user": fax["user"],
        "from": fax["sender"],
        "subject": fax["subject"],
        "tags": ", ".join(f"{key}={value}" for key, value in fax["tags"].items()),
        "repeat of": fax["repeat_of"],
        "pages": fax["pages"],
        "fax code": fax["fax_code"],
        "price": fax["price"],
        "next step": fax["due_at"] and local(fax["due_at"]),
    }
    lines = [fax["id"], *(f"  {name:10} {plain(value)}" for name, value in facts.items() if value not in (None, ""))]
    lines += _section("documents", [_document(d) for d in fax["documents"]])
    lines += _section("not faxed", [plain(name) for name in fax["passed_over"]])
    lines += _section("attempts", [_attempt(attempt) for attempt in fax["attempts"]])
    lines += _section("events", [f"{local(e['at'])}  {e['type']}" for e in fax["events"]])
    lines += _section("deliveries", [_delivery(delivery) for delivery in fax["deliveries"]])
    return lines


def _section(title: str, lines: list[str]) -> list[str]:
    return [f"  {title}", *(f"    {line}" for line in lines)] if lines else []


def _document(document: dict[str, Any]) -> str:
    deleted = "  deleted" if document["deleted"] else ""
    return f"{plain(document['name'])}  {document['content_type']}  {document['size']:,} bytes{deleted}"


def _attempt(attempt: dict[str, Any]) -> str:
    if attempt["fax_code"]:
        outcome = f"accepted as {plain(attempt['fax_code'])}"
    elif attempt["error_code"]:
        outcome = plain(attempt["error_code"])
    else:
        outcome = "in progress" if attempt["ended_at"] is None else "not accepted"
    return f"{local(attempt['started_at'])}  {attempt['n']}: {outcome}"


def _delivery(delivery: dict[str, Any]) -> str:
    when = local(delivery["settled_at"] or delivery["due_at"])
    error = f"  {plain(delivery['error'])}" if delivery["error"] else ""
    tries = f"{delivery['attempts']} {'try' if delivery['attempts'] == 1 else 'tries'}"
    return f"{when}  {plain(delivery['type'])} to {delivery['endpoint']}: {delivery['state']} after {tries}{error}"
