"""`check`: is the configuration right, and with `--online`, does everything that it names let us in?"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mailbridge.cli import EXIT_CONFIG
from mailbridge.cli.options import config_option, environment, json_option
from mailbridge.cli.output import plain, print_json

if TYPE_CHECKING:
    from mailbridge.errors import ConfigError
    from mailbridge.online_check import Check


@click.command(epilog="Exit codes: 0 right, 1 a login or a ping failed, 2 wrong use, 78 a mistake in the file.")
@click.option("--online", is_flag=True, help="Also log in to MyFax, the mailboxes and the relay, and send ping to the webhooks.")
@json_option
@config_option
def check(online: bool, as_json: bool, config_path: Path) -> int:
    """Validate a configuration: a line for each mistake.

    A warning tells of a key that does not do what it seems to; it does not change the exit code. As root, for the service:

    \b
      mailbridge check --online
      mailbridge check --config config.toml
    """
    from mailbridge.config import load, problems
    from mailbridge.config.warnings import config_warnings
    from mailbridge.webhook.schemas import EVENTS

    environ = environment(config_path)
    mistakes = problems(config_path, environ)
    if mistakes:
        _print({"ok": False, "mistakes": mistakes, "warnings": [], "checks": []}, as_json, config_path)
        return EXIT_CONFIG
    config = load(config_path, environ)
    checks: list[Check] = []
    if online:
        from mailbridge.online_check import check_all

        checks = asyncio.run(check_all(config))
    well = all(one.ok for one in checks)
    _print({"ok": well, "mistakes": [], "warnings": config_warnings(config, EVENTS), "checks": checks}, as_json, config_path)
    return 0 if well else 1


def _print(found: dict[str, Any], as_json: bool, config_path: Path) -> None:
    if as_json:
        told = {part: [_told(one) for one in found[part]] for part in ("mistakes", "warnings")}
        print_json({"ok": found["ok"], **told, "checks": [asdict(one) for one in found["checks"]]})
        return
    for one in found["mistakes"]:
        click.echo(f"mailbridge: {plain(str(one))}", err=True)
    for one in found["warnings"]:
        click.echo(f"mailbridge: warning: {plain(str(one))}", err=True)
    for one in found["checks"]:
        click.echo(f"{'ok    ' if one.ok else 'FAILED'}  {one.part}: {plain(one.words)}")
    if found["ok"] and not found["checks"]:
        click.echo(f"{config_path} is right")


def _told(one: ConfigError) -> dict[str, str]:
    return {"key": one.key, "fault": one.fault, "remedy": one.remedy}
