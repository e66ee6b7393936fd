"""`serve`, `reload` and `migrate`: the daemon and its database."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import click

from mailbridge.cli import EXIT_CONFIG
from mailbridge.cli.options import EXITS, config_option, environment, json_option
from mailbridge.cli.output import plain, print_json
from mailbridge.cli.store_query import ask_daemon_first
from mailbridge.preload import quick_imports


@click.command(
    epilog="Exit codes: 0 stopped by SIGTERM or Ctrl-C, 1 failed, 2 usage error, 78 bad configuration, state_dir in use by "
    "another daemon, or database of a newer version."
)
@click.option(
    "--catch-up",
    is_flag=True,
    help="On the first start with a mailbox, also process the mail that is already in it.",
)
@config_option
def serve(catch_up: bool, config_path: Path) -> None:
    """Run the daemon until SIGTERM or Ctrl-C. SIGHUP reloads the configuration.

    The daemon logs to standard error; docs/troubleshooting.md explains the log.

    \b
      mailbridge serve --config config.toml
    """
    environ = environment(config_path)
    with quick_imports():
        from mailbridge.config import load

        config = load(config_path, environ)  # an error is shown before the rest is loaded
        from mailbridge.process import serve as run

    gc.disable()  # until `keep_loaded`, when the daemon is ready
    asyncio.run(run(config, config_path, environ, catch_up=catch_up))


@click.command(epilog=EXITS)
@json_option
@config_option
def reload(as_json: bool, config_path: Path) -> int:
    """Let the running daemon read its configuration again, and wait until the new one is in effect.

    Connections go on. If the file has an error, it is printed, and the present configuration stays in effect. state_dir, [store]
    and node.name cannot change while the daemon runs.

    \b
      mailbridge reload
    """
    errors = ask_daemon_first(config_path, "reload")["errors"]
    for error in errors:
        click.echo(f"mailbridge: {plain(error)}", err=True)
    if as_json:
        print_json({"ok": not errors, "mistakes": errors})
    elif not errors:
        click.echo("the new configuration is in effect")
    return EXIT_CONFIG if errors else 0


@click.command(epilog=EXITS)
@json_option
@config_option
def migrate(as_json: bool, config_path: Path) -> None:
    """Create the tables in the PostgreSQL database of store.url, or migrate a database to this version's schema.

    With SQLite the daemon must be stopped, and `mailbridge serve` does the same when it starts. With PostgreSQL, run it once
    before the first daemon starts, and before the first daemon of a new version; daemons of the version before may go on.

    \b
      mailbridge migrate
    """
    from mailbridge.config import load
    from mailbridge.stores import migrate as run

    found, now = run(load(config_path, environment(config_path)))
    if as_json:
        print_json({"found": found, "now": now})
    else:
        migrated = f"migrated from schema {found} to {now}" if found else f"created the tables of schema {now}"
        click.echo(migrated if found != now else f"the database already has schema {now}")
