"""`incoming`: the received faxes or voicemails that MyFax lists, and their documents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mailbridge.cli.myfax_call import by_account, configuration
from mailbridge.cli.options import EXITS, account_option, config_option, json_option, moment
from mailbridge.cli.output import local, print_json, print_table

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from mailbridge.myfax import IncomingItem, MyFax

_DIRECTORY = click.Path(file_okay=False, path_type=Path)


@click.command(epilog=EXITS)
@click.option("--voice", is_flag=True, help="List voicemails instead of faxes.")
@click.option("--since", metavar="TIME", help="Received since this time, such as 2026-01-04 or 2026-01-04T09:00 (in `timezone`).")
@click.option("--until", metavar="TIME", help="Received up to this time; a date includes the whole day.")
@click.option("--save", "directory", metavar="DIR", type=_DIRECTORY, help="Download the documents into this directory.")
@account_option
@json_option
@config_option
def incoming(
    voice: bool,
    since: str | None,
    until: str | None,
    directory: Path | None,
    account: str | None,
    as_json: bool,
    config_path: Path,
) -> int:
    """List the received faxes or voicemails that MyFax has, with their times in `timezone`. No daemon is needed.

    --save also downloads their documents. It never overwrites a file, skips what it has downloaded before, and continues a
    download that broke off.

    \b
      mailbridge incoming --since 2026-01-04
      mailbridge incoming --voice --save voicemails
    """
    from zoneinfo import ZoneInfo

    config = configuration(config_path)
    zone = ZoneInfo(config.timezone)
    start, end = moment(since, "--since", zone), moment(until, "--until", zone, last=True)
    if start and end and end < start:
        raise click.UsageError("--until is before --since")

    async def work(myfax: MyFax) -> list[IncomingItem]:
        return [item async for item in myfax.incoming("voice" if voice else "incoming", start, end)]

    items = [_item_data(item, config.smtp.region) for item in by_account(config, account, work)]
    failed = 0
    if directory is not None:
        from mailbridge.cli.download import save_all

        failed = save_all(items, directory, config.myfax.url, config.myfax.timeout, zone)
    if as_json:
        print_json(items)
    else:
        _print(items, "id" if directory is None else "file", zone, "no voicemails" if voice else "no faxes")
    return 1 if failed else 0


def _print(items: list[dict[str, Any]], last: str, zone: ZoneInfo, empty: str) -> None:
    rows = [(local(item["time"], zone), item["from"], item["to"], item[last]) for item in items]
    print_table(("TIME", "FROM", "TO", last.upper()), rows, empty)


def _item_data(item: IncomingItem, region: str) -> dict[str, Any]:
    from mailbridge.report.listing_match import canonical_number

    return {
        "id": item.id,
        "time": None if item.time is None else item.time.isoformat(),
        "from": canonical_number(item.source, region),
        "to": canonical_number(item.did, region),
        "url": item.url,
    }
