"""`cancel`, `retry`, `resolve` and `replay`: what a person may do to faxes and deliveries."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from mailbridge.cli.options import EXITS, config_option, json_option
from mailbridge.cli.output import print_json
from mailbridge.cli.store_query import ask


@click.command(epilog=EXITS)
@click.argument("id")
@json_option
@config_option
def cancel(id: str, as_json: bool, config_path: Path) -> None:
    """Cancel a fax that waits to be uploaded. One that MyFax took cannot be called back.

    \b
      mailbridge cancel fax_01M87C14PBQ5WTSC4GKPEBFKJX
    """
    _tell(ask(config_path, "cancel", id=id), as_json, f"{id} is cancelled")


@click.command(epilog=EXITS)
@click.argument("id")
@json_option
@config_option
def retry(id: str, as_json: bool, config_path: Path) -> None:
    """Send a waiting fax now, or one that failed once more.

    A fax that failed or was cancelled stays what it is: a new one with its documents is queued, and its id is printed.

    \b
      mailbridge retry fax_01M87C14PBQ5WTSC4GKPEBFKJX
    """
    fax = ask(config_path, "retry", id=id)
    _tell(fax, as_json, f"{id} is due now" if fax["id"] == id else f"queued again as {fax['id']}")


@click.command(epilog=EXITS)
@click.argument("id")
@click.option("--sent", is_flag=True, help="MyFax did take it: it counts as delivered, or is followed by its code.")
@click.option("--resend", is_flag=True, help="MyFax did not take it: upload it again. If MyFax did take it, it is faxed twice.")
@click.option("--failed", is_flag=True, help="It was not sent, and must not be.")
@click.option("--fax-code", metavar="CODE", help="With --sent: MyFax's FAX_CODE, to follow the fax to its end.")
@json_option
@config_option
def resolve(id: str, fax_code: str | None, as_json: bool, config_path: Path, **words: bool) -> None:
    """Settle a fax whose upload got no answer, so that MyFax may or may not have it.

    Look first whether it was sent: MyFax's site lists the sent faxes, and the recipient can be asked.

    \b
      mailbridge queue --state in_doubt
      mailbridge resolve fax_01M87C14PBQ5WTSC4GKPEBFKJX --sent
      mailbridge resolve fax_01M87C14PBQ5WTSC4GKPEBFKJX --resend
    """
    said = [word for word, given in words.items() if given]
    if len(said) != 1:
        raise click.UsageError("say what became of it: one of --sent, --resend and --failed")
    as_ = said[0]
    if fax_code is not None and (as_ != "sent" or not fax_code.strip()):
        raise click.UsageError("--fax-code goes with --sent, and is MyFax's FAX_CODE")
    fax = ask(config_path, "resolve", id=id, as_=as_, fax_code=fax_code and fax_code.strip())
    _tell(fax, as_json, f"{id} is {fax['state']}")


def _time(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Return an ISO 8601 time in UTC; one without a zone is in this machine's."""
    try:
        return None if value is None else datetime.fromisoformat(value).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        forms = "2026-01-04, 2026-01-04T09:00 or 2026-01-04T09:00:00+02:00"
        raise click.BadParameter(f"{value!r} is no time; write {forms}", ctx, param) from None


@click.command(epilog=EXITS)
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--endpoint", metavar="NAME", help="Those for this webhook; one that 410 stopped starts again.")
@click.option("--since", metavar="T", callback=_time, help="Events raised at this time or later, such as 2026-01-04T09:00.")
@click.option("--until", metavar="T", callback=_time, help="Events raised at this time or earlier.")
@click.option("--limit", metavar="N", type=click.IntRange(1), help="The oldest N at most.  [default: all]")
@click.option("--retire", is_flag=True, help="With --endpoint: do not deliver, but give up what still waits for it.")
@json_option
@config_option
def replay(ids: tuple[str, ...], as_json: bool, config_path: Path, retire: bool, **chosen: Any) -> None:
    """Deliver again the events that were given up: by the ids of events or deliveries, by webhook, or by time.

    The order of deliveries is not promised; within one fax, use the seq of its events.

    \b
      mailbridge deliveries --dead
      mailbridge replay --endpoint crm
      mailbridge replay --since 2026-01-04T09:00 --until 2026-01-04T12:00
    """
    choice = {name: value for name, value in chosen.items() if value is not None}
    if bool(ids) == bool(choice):
        raise click.UsageError("name ids, or choose by --endpoint, --since or --until")
    if choice.keys() == {"limit"}:
        raise click.UsageError("--limit goes with --endpoint, --since or --until")
    if retire and choice.keys() != {"endpoint"}:
        raise click.UsageError("--retire goes with --endpoint alone")
    if ids:
        replayed = ask(config_path, "replay", ids=list(ids))
        _tell(replayed, as_json, *(f"{one['id']} to {one['endpoint']} is pending" for one in replayed))
        return
    verb = "retired" if retire else "replayed"
    counts = _by_choice(config_path, verb, choice)
    answer = {verb: sum(counts.values()), "endpoints": dict(counts)}
    _tell(answer, as_json, *(f"{name}: {n:,} {verb}" for name, n in sorted(counts.items())) if counts else (f"nothing {verb}",))


def _by_choice(config_path: Path, verb: str, choice: dict[str, Any]) -> Counter[str]:
    """Ask until nothing more of the choice is left: the daemon answers after each ten thousand."""
    counts: Counter[str] = Counter()
    asked = {**choice, **({"retire": True} if verb == "retired" else {})}
    while True:
        answer = ask(config_path, "replay", **asked)
        counts.update(answer["endpoints"])
        if "limit" in choice:
            asked["limit"] = choice["limit"] - sum(counts.values())
        if not answer["more"] or asked.get("limit") == 0:
            return counts
        asked["before"] = answer["before"]


def _tell(answer: Any, as_json: bool, *lines: str) -> None:
    if as_json:
        print_json(answer)
        return
    for line in lines:
        click.echo(line)
