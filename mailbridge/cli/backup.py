"""`backup`, `verify` and `restore`: copies of the state_dir."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mailbridge import __version__
from mailbridge.cli.options import EXITS, config_option, environment, json_option
from mailbridge.cli.output import plain, print_json
from mailbridge.cli.store_query import ask_daemon_first, find_state_dir, is_shared
from mailbridge.control.client import NoDaemon
from mailbridge.errors import ConfigError, MailbridgeError

if TYPE_CHECKING:
    from mailbridge.config import Config

# Seconds that the daemon keeps files for a backup, and after which that is extended.
_HOLD, _EXTEND = 120.0, 30.0

_PG_DUMP = "run pg_dump --format=custom --file=FILE DATABASE"

_directory = click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
_existing = click.argument("directory", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))


@click.command(epilog=EXITS)
@_directory
@json_option
@config_option
def backup(directory: Path, as_json: bool, config_path: Path) -> int:
    """Copy the state to DIR, a new or empty directory, while the daemon works or is stopped.

    The copy has the database, the spool, and the keys in the state directory. The configuration and its secrets are not in it:
    back up /etc/mailbridge as well. Run it as root or as the daemon's user. It is for SQLite: back up PostgreSQL by pg_dump.

    \b
      mailbridge backup /var/backups/mailbridge/$(date +%F)
      mailbridge verify /var/backups/mailbridge/2026-11-26
    """
    from mailbridge.store.backup import back_up

    if is_shared(config_path):
        raise ConfigError("store.url", "a PostgreSQL database is backed up by its own tools", f"{_PG_DUMP}; see docs/nodes.md")
    state_dir = find_state_dir(config_path)
    if not (state_dir / "mailbridge.sqlite3").exists():
        raise ConfigError("state_dir", f"{state_dir} has no database, or this user may not see it", "use sudo, or check --config")
    if directory.absolute().is_relative_to(state_dir.absolute()):
        raise click.UsageError(f"{directory} is inside the state directory {state_dir}; choose another place")
    with _files_kept(config_path, state_dir):
        done = back_up(state_dir, directory, __version__)
    if as_json:
        print_json(
            {"ok": not done.missing, "faxes": done.faxes, "files": done.files, "bytes": done.size, "missing": done.missing}
        )
    else:
        click.echo(f"{directory}: {done.faxes:,} faxes, {done.files:,} files, {done.size / 1e6:,.1f} MB")
        for path in done.missing:
            click.echo(f"mailbridge: spool/{plain(path)} is missing, though the database names it", err=True)
    return 1 if done.missing else 0


@contextlib.contextmanager
def _files_kept(config_path: Path, state_dir: Path) -> Iterator[None]:
    """Keep the files of the spool: the daemon's retention waits, or the state_dir is locked if no daemon runs."""
    try:
        ask_daemon_first(config_path, "hold_retention", seconds=_HOLD)
    except NoDaemon:
        from mailbridge.store.state_dir import lock_state_dir

        lock = lock_state_dir(state_dir)
        try:
            yield
        finally:
            os.close(lock)
        return
    done = threading.Event()
    extending = threading.Thread(target=_extend, args=(config_path, done), daemon=True)
    extending.start()
    try:
        yield
    finally:
        done.set()
        extending.join()
        with contextlib.suppress(MailbridgeError):
            ask_daemon_first(config_path, "hold_retention", seconds=0)


def _extend(config_path: Path, done: threading.Event) -> None:
    while not done.wait(_EXTEND):
        with contextlib.suppress(MailbridgeError):
            ask_daemon_first(config_path, "hold_retention", seconds=_HOLD)


@click.command(epilog="Exit codes: 0 complete and undamaged, 1 not, 2 usage error.")
@_existing
@json_option
def verify(directory: Path, as_json: bool) -> int:
    """Verify a backup in DIR: each file is there and unchanged, each fax has its documents, and each state is possible.

    DIR may also be the state directory of a stopped daemon. Nothing is changed. It is for SQLite: to verify a dump of PostgreSQL,
    restore it into another database with pg_restore.

    \b
      mailbridge verify /var/backups/mailbridge/2026-11-26
    """
    from mailbridge.store.verification import verify as run

    found = run(directory)
    if as_json:
        ok, problems = not found.problems, list(found.problems)
        print_json({"ok": ok, "faxes": found.faxes, "documents": found.documents, "problems": problems})
    else:
        _print_problems(found.problems)
        if not found.problems:
            click.echo(f"{directory} is complete and undamaged: {found.faxes:,} faxes, {found.documents:,} documents")
    return 1 if found.problems else 0


def _print_problems(problems: tuple[str, ...]) -> None:
    for problem in problems:
        click.echo(f"mailbridge: {plain(problem)}", err=True)


@click.command(epilog=EXITS)
@click.argument("directory", metavar="[DIR]", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False)
@click.option("--damaged", is_flag=True, help="Restore also a backup that verify finds damaged or incomplete.")
@click.option("--moved", is_flag=True, help="With PostgreSQL: nothing was sent since the copy was made; put no fax in doubt.")
@json_option
@config_option
def restore(directory: Path | None, damaged: bool, moved: bool, as_json: bool, config_path: Path) -> int:
    """Restore the backup in DIR into the state directory of the configuration, which must be empty. Stop the daemon first.

    With PostgreSQL, stop every daemon, and restore the database by its own tools, such as pg_restore. Then run this without DIR,
    before a daemon starts.

    A fax that was queued or uploading when the backup was made may have been sent since. It is put in doubt and not sent, until a
    trusted report or a person says what became of it. Look at the sent faxes on MyFax's site, and settle what remains:

    \b
      mailbridge restore /var/backups/mailbridge/2026-11-26
      pg_restore --dbname mailbridge FILE && mailbridge restore
      mailbridge queue --state in_doubt
      mailbridge resolve --restored --resend
    """
    from mailbridge.config import load
    from mailbridge.store.verification import verify as check
    from mailbridge.stores import restore as run

    config = load(config_path, environment(config_path))
    if config.store.url is not None:
        return _settle(config, directory, moved, as_json)
    if directory is None or moved:
        raise click.UsageError("give the backup's DIR; --moved and a restore without DIR are for PostgreSQL")
    problems = check(directory).problems
    _print_problems(problems)
    if problems and not damaged:
        click.echo("mailbridge: nothing was restored; use another backup, or add --damaged", err=True)
        return 1
    held = asyncio.run(run(directory, config))
    _print_restored({"state_dir": str(config.state_dir)}, f"restored to {config.state_dir}", held, as_json)
    return 0


def _settle(config: Config, directory: Path | None, moved: bool, as_json: bool) -> int:
    """Settle a PostgreSQL database that was restored by its own tools."""
    from mailbridge.stores import settle_restored

    if directory is not None:
        remedy = "run pg_restore, then mailbridge restore without DIR; see docs/nodes.md"
        raise ConfigError("store.url", "a PostgreSQL database is restored by its own tools", remedy)
    held = asyncio.run(settle_restored(config, moved=moved))
    _print_restored({}, "daemons may start on the database", held, as_json)
    return 0


def _print_restored(place: dict[str, Any], done: str, held: list[str], as_json: bool) -> None:
    if as_json:
        print_json({**place, "in_doubt": held})
        return
    click.echo(done)
    if held:
        click.echo(f"{len(held):,} faxes are in doubt and are not sent: they may have been sent after the backup was made.")
        click.echo("Look at the sent faxes on MyFax's site, and settle each with mailbridge resolve ID, or all with")
        click.echo("mailbridge resolve --restored --sent, --resend or --failed")
