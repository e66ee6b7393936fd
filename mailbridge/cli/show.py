"""`show`: the history of a fax, and its documents."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mailbridge.cli.options import EXITS, config_option, fax_argument, json_option
from mailbridge.cli.output import local, plain, print_json
from mailbridge.cli.store_query import ask, ask_daemon_first, find_zone

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo


@click.command(epilog=EXITS)
@fax_argument
@click.option(
    "--save",
    "directory",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Also save its documents in DIR, as they were or will be faxed. No file is overwritten.",
)
@click.option(
    "--confirmation",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write its confirmation to FILE: a page (PDF) with what is known about the fax. Needs the daemon.",
)
@json_option
@config_option
def show(id: str, directory: Path | None, confirmation: Path | None, as_json: bool, config_path: Path) -> None:
    """Show the history of a fax: its documents, what of its mail was not faxed, attempts, events and webhook deliveries.

    ID is that of a sent or received fax, the end of it as tables show it, or the token MB-… of the file that MyFax got.

    \b
      mailbridge show fax_01M87C14PBQ5WTSC4GKPEBFKJX
      mailbridge show KPEBFKJX --save /tmp/fax
      mailbridge show KPEBFKJX --confirmation fax.pdf
    """
    fax = ask(config_path, "show", id=id)
    saved: list[Path] = []
    if directory is not None:
        from mailbridge.cli.saved_documents import save_documents

        saved = save_documents(ask(config_path, "stored_documents", id=fax["id"]), config_path, directory)
    if confirmation is not None:
        _write_confirmation(fax["id"], confirmation, config_path)
        saved.append(confirmation)
    if as_json:
        print_json(fax if not saved else {**fax, "files": [str(path) for path in saved]})
        return
    click.echo("\n".join(history(fax, find_zone(config_path))))
    for path in saved:
        click.echo(f"saved {plain(path)}")


def _write_confirmation(fax_id: str, file: Path, config_path: Path) -> None:
    content = base64.b64decode(ask_daemon_first(config_path, "confirmation", id=fax_id))
    try:
        file.write_bytes(content)
    except OSError as error:
        raise click.ClickException(f"cannot write {file} ({error.strerror}); name another file") from None


def reason(fax: Mapping[str, Any]) -> str:
    """Return why a fax failed, or is in doubt after a restore, in one line; otherwise an empty text."""
    failure = fax["failure"]
    if failure is None:
        restored = fax["state"] == "in_doubt" and fax.get("restored_at")
        return "restored from a backup, may have been sent since" if restored else ""
    number = "" if failure["provider_code"] is None else f" ({failure['provider_code']})"
    return f"{failure['code']}{number}: {failure['message']}"


def history(fax: Mapping[str, Any], zone: ZoneInfo) -> list[str]:
    """Return the history of a fax as lines of text."""
    inbound = fax.get("direction") == "inbound"
    facts, documents = _received_facts(fax, zone) if inbound else _facts(fax, zone)
    lines = [fax["id"], *(f"  {name:10} {plain(value)}" for name, value in facts.items() if value not in (None, ""))]
    lines += _section("documents", [_document(document) for document in documents])
    lines += _section("not faxed", [plain(name) for name in fax.get("passed_over", [])])
    lines += _section("attempts", [_attempt(attempt, zone) for attempt in fax.get("attempts", [])])
    lines += _section("events", [f"{local(e['at'], zone)}  {e['type']}" for e in fax["events"]])
    lines += _section("deliveries", [_delivery(delivery, zone) for delivery in fax["deliveries"] if delivery["to"] is None])
    return lines + _section("notices", [f"{plain(one['kind'])} to {plain(one['to'])}: {one['state']}" for one in fax["notices"]])


def _facts(fax: Mapping[str, Any], zone: ZoneInfo) -> tuple[dict[str, Any], list[Mapping[str, Any]]]:
    scheduled, due = fax["send_at"], fax["due_at"]
    facts = {
        "state": fax["state"],
        "reason": reason(fax),
        "number": fax["number"],
        "account": fax["account"],
        "user": fax["user"],
        "from": fax["sender"],
        "client": fax["client"],
        "subject": fax["subject"],
        "tags": ", ".join(f"{key}={value}" for key, value in fax["tags"].items()),
        "repeat of": fax["repeat_of"],
        "pages": fax["pages"],
        "token": fax["token"],
        "fax code": fax["fax_code"],
        "price": fax["price"],
        "send at": scheduled and local(scheduled, zone),
        "next step": due and not scheduled and fax["state"] != "in_doubt" and local(due, zone),
    }
    return {name: value or None if value is False else value for name, value in facts.items()}, fax["documents"]


def _received_facts(fax: Mapping[str, Any], zone: ZoneInfo) -> tuple[dict[str, Any], list[Mapping[str, Any]]]:
    facts = {
        "state": "received" if fax["type"] == "fax.received" else "voicemail",
        "from": fax["from"] or "anonymous",
        "to": fax["to"],
        "received": local(fax["received_at"], zone),
        "account": fax["account"],
        "mailbox": fax["mailbox"],
        "source": fax["source"],
        "trusted": "yes" if fax["trusted"] else "no",
        "subject": fax["subject"],
        "pages": fax["pages"],
    }
    return facts, [{**document, "name": document["filename"]} for document in fax["documents"]]


def _section(title: str, lines: list[str]) -> list[str]:
    return [f"  {title}", *(f"    {line}" for line in lines)] if lines else []


def _document(document: Mapping[str, Any]) -> str:
    deleted = "  deleted" if document["deleted"] else ""
    pages = "" if document["pages"] is None else f"  {document['pages']} page{'' if document['pages'] == 1 else 's'}"
    return f"{plain(document['name'])}  {document['content_type']}  {document['size']:,} bytes{pages}{deleted}"


def _attempt(attempt: Mapping[str, Any], zone: ZoneInfo) -> str:
    if attempt["fax_code"]:
        outcome = f"accepted as {plain(attempt['fax_code'])}"
    elif attempt["error_code"]:
        outcome = plain(attempt["error_code"])
    else:
        outcome = "in progress" if attempt["ended_at"] is None else "not accepted"
    return f"{local(attempt['started_at'], zone)}  {attempt['n']}: {outcome}"


def _delivery(delivery: Mapping[str, Any], zone: ZoneInfo) -> str:
    when = local(delivery["settled_at"] or delivery["due_at"], zone)
    error = f"  {plain(delivery['error'])}" if delivery["error"] else ""
    tries = f"{delivery['attempts']} {'try' if delivery['attempts'] == 1 else 'tries'}"
    return f"{when}  {plain(delivery['type'])} to {delivery['endpoint']}: {delivery['state']} after {tries}{error}"
