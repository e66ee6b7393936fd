"""`usage`: what was faxed in a month, and what it cost."""

from __future__ import annotations

import csv
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mailbridge.cli.options import EXITS, config_option, json_option
from mailbridge.cli.output import plain, print_json, print_table
from mailbridge.cli.store_query import ask, find_zone

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

_COUNTS = ("faxes", "delivered", "failed", "other", "pages", "price")


@click.command(epilog=EXITS)
@click.option("--month", metavar="YYYY-MM", required=True, help="The month in which the faxes were accepted.")
@click.option("--by", type=click.Choice(("user", "account", "tag")), default="user", show_default=True, help="A row for each.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV for a spreadsheet.")
@json_option
@config_option
def usage(month: str, by: str, as_csv: bool, as_json: bool, config_path: Path) -> None:
    """Count the faxes of a month by user, account or tag.

    Pages and price are those of delivered faxes, as MyFax reported them. OTHER are cancelled, in doubt, or not final yet. Faxes
    without a user or tag are in the row -. Records older than retention.records are not counted.

    \b
      mailbridge usage --month 2026-11
      mailbridge usage --month 2026-11 --by tag --csv > faxes.csv
    """
    if as_csv and as_json:
        raise click.UsageError("choose --csv or --json")
    since, until = _month(month, find_zone(config_path))
    found = ask(config_path, "usage", since=since, until=until, by=by)
    if as_json:
        print_json({"month": month, "by": by, "rows": found})
    elif as_csv:
        _print_csv(by, found)
    else:
        rows = [(plain(row[by]), *(row[name] for name in _COUNTS)) for row in found]
        print_table((by.upper(), *(name.upper() for name in _COUNTS)), rows, f"no faxes in {month}")


def _month(text: str, zone: ZoneInfo) -> tuple[str, str]:
    """Return the first moment of a month, and that of the next one."""
    try:
        first = datetime.strptime(text, "%Y-%m").replace(tzinfo=zone)
        following = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
        return first.astimezone(UTC).isoformat(), following.astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        raise click.UsageError(f"--month: {text!r} is not a month; write 2026-11") from None


def _print_csv(by: str, found: list[dict[str, Any]]) -> None:
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow((by, *_COUNTS))
    table.writerows((_harmless(plain(row[by])), *(row[name] for name in _COUNTS)) for row in found)


def _harmless(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[0] in "=+@\t" or (text[0] == "-" and len(text) > 1) else text
