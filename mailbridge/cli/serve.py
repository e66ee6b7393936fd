"""`serve` and `migrate`: the daemon, and its database."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from mailbridge.cli.options import EXITS, config_option, environment, json_option
from mailbridge.cli.output import print_json


@click.command(
    epilog="Exit codes: 0 ended by SIGTERM or Ctrl-C, 1 failed, 2 wrong use, 78 a bad configuration, a state_dir in which "
    "another daemon works, or a database of a newer version."
)
@click.option(
    "--catch-up",
    is_flag=True,
    help="When a mailbox is watched for the first time, also take the mails that are in it already; later it changes nothing.",
)
@config_option
def serve(catch_up: bool, config_path: Path) -> None:
    """Run the daemon until SIGTERM or Ctrl-C; SIGHUP reads the configuration again.

    It logs to standard error. docs/troubleshooting.md tells what its lines mean.

    \b
      mailbridge serve --config config.toml
    """
    from mailbridge.process import serve as run

    asyncio.run(run(config_path, environment(config_path), catch_up=catch_up))


@click.command(epilog=EXITS)
@json_option
@config_option
def migrate(as_json: bool, config_path: Path) -> None:
    """Migrate the database of a stopped daemon to this version's schema.

    `serve` does so by itself when it starts; this is for seeing it done before.
    """
    from mailbridge.app import migrate as run
    from mailbridge.config import load

    found, now = run(load(config_path, environment(config_path)))
    if as_json:
        print_json({"found": found, "now": now})
    else:
        click.echo(f"the database has schema {now}" + (f", it had {found}" if found != now else " already"))
