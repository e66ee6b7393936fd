"""`cancel`, `retry`, `resolve` and `replay`: commands that change faxes and deliveries."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click

from mailbridge.cli.options import EXITS, between, config_option, fax_argument, json_option
from mailbridge.cli.output import print_json
from mailbridge.cli.store_query import ask, find_zone, person


@click.command(epilog=EXITS)
@fax_argument
@json_option
@config_option
def cancel(id: str, as_json: bool, config_path: Path) -> None:
    """Cancel a fax that has not been uploaded. MyFax cannot recall a fax that it has accepted.

    \b
      mailbridge cancel fax_01M87C14PBQ5WTSC4GKPEBFKJX
    """
    fax = ask(config_path, "cancel", id=id, by=person())
    _print(fax, as_json, f"{fax['id']} is cancelled")


@click.command(epilog=EXITS)
@fax_argument
@json_option
@config_option
def retry(id: str, as_json: bool, config_path: Path) -> None:
    """Send a waiting fax now, or send a failed fax again.

    A failed or cancelled fax keeps its state. A new fax with the same documents is queued, and its ID is printed.

    \b
      mailbridge retry fax_01M87C14PBQ5WTSC4GKPEBFKJX
    """
    fax = ask(config_path, "retry", id=id, by=person())
    _print(fax, as_json, f"queued again as {fax['id']}" if fax["copy_of"] else f"{fax['id']} is due now")


@click.command(epilog=EXITS)
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every fax in doubt, instead of IDs.")
@click.option("--restored", is_flag=True, help="Every fax that is in doubt because a backup was restored, instead of IDs.")
@click.option("--sent", is_flag=True, help="MyFax accepted it: mark it as delivered, or track it with --fax-code.")
@click.option("--resend", is_flag=True, help="MyFax did not accept it: upload it again. If MyFax did, it is sent twice.")
@click.option("--failed", is_flag=True, help="MyFax did not accept it: mark it as failed.")
@click.option("--fax-code", metavar="CODE", help="With --sent: the FAX_CODE at MyFax, to track the fax to its final state.")
@json_option
@config_option
def resolve(
    ids: tuple[str, ...],
    every: bool,
    restored: bool,
    sent: bool,
    resend: bool,
    failed: bool,
    fax_code: str | None,
    as_json: bool,
    config_path: Path,
) -> None:
    """Settle faxes in doubt. Their upload got no answer, so MyFax may or may not have accepted them.

    First find out whether they were sent: look at the sent faxes on MyFax's site, or ask the recipient.

    \b
      mailbridge queue --state in_doubt
      mailbridge resolve fax_01M87C14PBQ5WTSC4GKPEBFKJX --sent
      mailbridge resolve fax_01M87C14PBQ5WTSC4GKPEBFKJX --resend
      mailbridge resolve --restored --failed
    """
    outcomes = [name for name, given in (("sent", sent), ("resend", resend), ("failed", failed)) if given]
    if len(outcomes) != 1:
        raise click.UsageError("choose one of --sent, --resend and --failed")
    if (bool(ids), every, restored).count(True) != 1:
        raise click.UsageError("give IDs, or --all, or --restored")
    if fax_code is not None and (not sent or not fax_code.strip() or len(ids) != 1):
        raise click.UsageError("--fax-code requires --sent, one ID and a FAX_CODE")
    if ids:
        choice = {"as_": outcomes[0], "fax_code": fax_code and fax_code.strip(), "by": person()}
        faxes = [ask(config_path, "resolve", id=id, **choice) for id in ids]
        _print(faxes[0] if len(ids) == 1 else faxes, as_json, *(f"{fax['id']} is {fax['state']}" for fax in faxes))
        return
    answer = ask(config_path, "resolve_all", as_=outcomes[0], restored=restored, by=person())
    _print(answer, as_json, f"{answer['resolved']:,} faxes resolved as {outcomes[0]}")


@click.command(epilog=EXITS)
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--endpoint", metavar="NAME", help="Only deliveries to this webhook. Re-enables a webhook that 410 stopped.")
@click.option("--since", metavar="TIME", help="Only events from this time on, such as 2026-01-04T09:00.")
@click.option("--until", metavar="TIME", help="Only events up to this time; a date means its end.")
@click.option("--limit", metavar="N", type=click.IntRange(1), help="Only the oldest N.  [default: all]")
@click.option("--retire", is_flag=True, help="With --endpoint: discard its pending deliveries instead of delivering.")
@json_option
@config_option
def replay(ids: tuple[str, ...], as_json: bool, config_path: Path, retire: bool, **filters: Any) -> None:
    """Deliver dead deliveries again: by event or delivery ID, by webhook, or by time.

    The order of deliveries is not guaranteed. Use seq to order the events of one fax.

    \b
      mailbridge deliveries --dead
      mailbridge replay --endpoint crm
      mailbridge replay --since 2026-01-04T09:00 --until 2026-01-04T12:00
    """
    filters |= between(filters["since"], filters["until"], find_zone(config_path))
    given = {name: value for name, value in filters.items() if value is not None}
    if bool(ids) == bool(given):
        raise click.UsageError("give IDs, or select by --endpoint, --since or --until")
    if given.keys() == {"limit"}:
        raise click.UsageError("--limit requires --endpoint, --since or --until")
    if retire and given.keys() != {"endpoint"}:
        raise click.UsageError("--retire requires --endpoint and allows no other filter")
    if ids:
        replayed = ask(config_path, "replay", ids=list(ids), by=person())
        _print(replayed, as_json, *(f"{one['id']} to {one['endpoint']} is pending" for one in replayed))
        return
    done = "retired" if retire else "replayed"
    counts = _replay_all(config_path, given, retire)
    answer = {done: sum(counts.values()), "endpoints": dict(counts)}
    lines = [f"{name}: {count:,} {done}" for name, count in sorted(counts.items())]
    _print(answer, as_json, *(lines or [f"no deliveries {done}"]))


def _replay_all(config_path: Path, filters: dict[str, Any], retire: bool) -> Counter[str]:
    """Repeat the request until nothing is left, and return the number by endpoint. The daemon answers every 10,000 deliveries."""
    counts: Counter[str] = Counter()
    request = {**filters, "by": person(), **({"retire": True} if retire else {})}
    while True:
        answer = ask(config_path, "replay", **request)
        counts.update(answer["endpoints"])
        if "limit" in filters:
            request["limit"] = filters["limit"] - sum(counts.values())
        if not answer["more"] or request.get("limit") == 0:
            return counts
        request["before"] = answer["before"]


def _print(answer: Any, as_json: bool, *lines: str) -> None:
    if as_json:
        print_json(answer)
        return
    for line in lines:
        click.echo(line)
