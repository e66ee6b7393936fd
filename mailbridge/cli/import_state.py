"""`import`: moves an installation from SQLite to PostgreSQL."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mailbridge.cli.options import EXITS, config_option, environment, json_option
from mailbridge.cli.output import plain, print_json

if TYPE_CHECKING:
    from mailbridge.sqlite_import import Imported

_TABLES = {"envelope": "mails", "fax": "faxes", "event": "events", "delivery": "deliveries", "audit": "lines of the audit"}


@click.command(name="import", epilog=EXITS)
@click.option(
    "--from-sqlite",
    "source",
    metavar="STATE_DIR",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The state directory whose content is moved.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be moved, and change nothing.")
@click.option("--damaged", is_flag=True, help="Go on although mails or documents are missing in the state directory.")
@json_option
@config_option
def import_(source: Path, dry_run: bool, damaged: bool, as_json: bool, config_path: Path) -> int:
    """Move everything that a state directory with SQLite has into the PostgreSQL database of store.url, which must be empty.

    Stop the daemon first. Mails, faxes, received documents, events, the audit, ids and keys come along. Afterwards no daemon
    starts on the state directory any more, because both would send the same faxes. If it is interrupted, run it again.

    \b
      mailbridge import --from-sqlite /var/lib/mailbridge --dry-run
      mailbridge import --from-sqlite /var/lib/mailbridge
    """
    from mailbridge.config import load
    from mailbridge.sqlite_import import import_sqlite

    config = load(config_path, environment(config_path))
    with _Bar() as bar:
        moved = import_sqlite(config, source, dry_run=dry_run, damaged=damaged, progress=bar.show)
    if as_json:
        print_json({**moved._asdict(), "dry_run": dry_run})
    else:
        _print(moved, source, dry_run=dry_run)
    return 1 if dry_run and moved.missing else 0


def _print(moved: Imported, source: Path, *, dry_run: bool) -> None:
    for name in moved.missing:
        click.echo(f"mailbridge: {plain(name)} is missing in the spool, though a record names it", err=True)
    rows = ", ".join(f"{moved.rows[table]:,} {what}" for table, what in _TABLES.items())
    did = "an earlier run has moved" if moved.done_before else "would move" if dry_run else "moved"
    click.echo(f"{did} {rows}; {moved.bodies:,} files, {moved.size / 1e6:,.1f} MB")
    if moved.uploading and not moved.done_before:
        click.echo(f"{moved.uploading:,} faxes were being sent when the daemon ended; the next one to start settles them")
    if not dry_run:
        click.echo(f"No daemon with SQLite starts on {source} any more. Keep it until the new database has a backup.")


class _Bar:
    """A line on a terminal that says how far the copy is."""

    def __init__(self) -> None:
        self._shown = -1

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown >= 0:
            click.echo(err=True)

    def show(self, done: int, size: int) -> None:
        """Show that so many of all bytes were copied."""
        percent = done * 100 // size if size else 100
        if sys.stderr.isatty() and percent != self._shown:
            self._shown = percent
            click.echo(f"\rcopied {done / 1e6:,.1f} of {size / 1e6:,.1f} MB ({percent} %)", nl=False, err=True)
