"""`incoming`: the received faxes or voicemails that MyFax lists, and their documents."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mailbridge.cli.myfax_call import by_account, configuration
from mailbridge.cli.options import EXITS, account_option, config_option, json_option
from mailbridge.cli.output import local, print_json, print_table

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from mailbridge.myfax import IncomingItem, MyFax

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command(epilog=EXITS)
@click.option("--voice", is_flag=True, help="Voicemails, not faxes.")
@click.option("--since", metavar="TIME", help="From this time on, such as 2026-01-04 or 2026-01-04T09:00 (in `timezone`).")
@click.option("--until", metavar="TIME", help="Up to this time; a day alone means all of it.")
@click.option("--save", "folder", metavar="DIR", type=_FOLDER, help="Download the documents into this folder.")
@account_option
@json_option
@config_option
def incoming(
    voice: bool,
    since: str | None,
    until: str | None,
    folder: Path | None,
    account: str | None,
    as_json: bool,
    config_path: Path,
) -> int:
    """List what came in, as MyFax tells it. No daemon is needed.

    With --save also the documents: a file is never overwritten, and what is there already is not fetched again. A download that
    broke off is taken up where it ended. Times are in `timezone`, as MyFax tells them.

    \b
      mailbridge incoming --since 2026-01-04
      mailbridge incoming --voice --save voicemails
    """
    from zoneinfo import ZoneInfo

    config = configuration(config_path)
    zone = ZoneInfo(config.timezone)
    start, end = _moment(since, "--since", zone), _moment(until, "--until", zone, last=True)
    if start and end and end < start:
        raise click.UsageError("--until is before --since")

    async def work(myfax: MyFax) -> list[IncomingItem]:
        return [item async for item in myfax.incoming("voice" if voice else "incoming", start, end)]

    items = by_account(config, account, work)
    told = [_told(item, config.smtp.region) for item in items]
    failed = 0
    if folder is not None:
        from mailbridge.cli.download import save_all

        failed = save_all(told, folder, config.myfax.url, config.myfax.timeout, zone)
    if as_json:
        print_json(told)
    else:
        _print(told, "id" if folder is None else "file", zone, "no voicemails" if voice else "no faxes")
    return 1 if failed else 0


def _print(told: list[dict[str, Any]], last: str, zone: ZoneInfo, none: str) -> None:
    rows = [(local(one["time"], zone=zone), one["from"], one["to"], one[last]) for one in told]
    print_table(("TIME", "FROM", "TO", last.upper()), rows, none)


def _told(item: IncomingItem, region: str) -> dict[str, Any]:
    from mailbridge.report.listing_match import number

    return {
        "id": item.id,
        "time": None if item.time is None else item.time.isoformat(),
        "from": number(item.source, region),
        "to": number(item.did, region),
        "url": item.url,
    }


def _moment(text: str | None, option: str, zone: ZoneInfo, last: bool = False) -> datetime | None:
    """Return a given time, aware; a day alone is its first second or its `last`."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"{option} is no time; write 2026-01-04 or 2026-01-04T09:00") from None
    if last and len(text) <= len("2026-01-04"):
        moment = moment.replace(hour=23, minute=59, second=59)
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)
