"""`check`: is the configuration right, and with `--online`, does everything that it names let us in?"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mailbridge.cli import EXIT_CONFIG
from mailbridge.cli.options import config_option, environment, json_option
from mailbridge.cli.output import plain, print_json

if TYPE_CHECKING:
    from mailbridge.errors import ConfigError


@click.command()
@click.option("--online", is_flag=True, help="Also log in to MyFax, the mailboxes and the relay, and send ping to the webhooks.")
@json_option
@config_option
def check(online: bool, as_json: bool, config_path: Path) -> int:
    """Validate a configuration: a line for each mistake, exit 78 when there is one."""
    from mailbridge.config import load, problems

    environ = environment(config_path)
    mistakes = problems(config_path, environ)
    if mistakes:
        _print_mistakes(mistakes, as_json)
        return EXIT_CONFIG
    if not online:
        if as_json:
            print_json({"ok": True, "mistakes": [], "checks": []})
        else:
            click.echo(f"{config_path} is right")
        return 0
    from mailbridge.online import check_all

    checks = asyncio.run(check_all(load(config_path, environ)))
    well = all(one.ok for one in checks)
    if as_json:
        print_json({"ok": well, "mistakes": [], "checks": [asdict(one) for one in checks]})
    else:
        for one in checks:
            click.echo(f"{'ok    ' if one.ok else 'FAILED'}  {one.part}: {plain(one.words)}")
    return 0 if well else 1


def _print_mistakes(mistakes: list[ConfigError], as_json: bool) -> None:
    if as_json:
        told = [{"key": one.key, "fault": one.fault, "remedy": one.remedy} for one in mistakes]
        print_json({"ok": False, "mistakes": told, "checks": []})
        return
    for one in mistakes:
        click.echo(f"mailbridge: {plain(str(one))}", err=True)
