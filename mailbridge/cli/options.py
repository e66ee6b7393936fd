"""Options and arguments that several commands share, and their input: the environment and passwords."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

# The last line of each help page.
EXITS = "Exit codes: 0 done, 1 refused or failed, 2 usage error, 78 bad configuration."

DEFAULT_CONFIG = "/etc/mailbridge/config.toml"

config_option = click.option(
    "--config",
    "config_path",
    metavar="FILE",
    # An unreadable file is a bad configuration (78); click would call it a usage error (2).
    type=click.Path(path_type=Path, readable=False),
    envvar="MAILBRIDGE_CONFIG",
    default=DEFAULT_CONFIG,
    show_default=True,
    show_envvar=True,
    help="Configuration file.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
limit_option = click.option(
    "--limit", metavar="N", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Maximum number of rows."
)
account_option = click.option("--account", metavar="NAME", help="MyFax account to use.  [default: the first]")
fax_argument = click.argument("id")


since_option = click.option("--since", metavar="TIME", help="Only from this time on, such as 2026-01-04T09:00.")
until_option = click.option("--until", metavar="TIME", help="Only up to this time; a date means its end.")


def moment(text: str | None, option: str, zone: ZoneInfo, last: bool = False) -> datetime | None:
    """Return the time of an option, aware; a date is its first second, or with `last` its last one. Raises UsageError."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
        if last and len(text) <= len("2026-01-04"):
            found = found.replace(hour=23, minute=59, second=59)
        return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        forms = "2026-01-04, 2026-01-04T09:00 or 2026-01-04T09:00:00+02:00"
        raise click.UsageError(f"{option}: {text!r} is not a time; write {forms}") from None


def between(since: str | None, until: str | None, zone: ZoneInfo) -> dict[str, str | None]:
    """Return the options --since and --until as a request has them: in UTC, without an offset they are in `zone`."""
    times = {"since": moment(since, "--since", zone), "until": moment(until, "--until", zone, last=True)}
    return {name: None if time is None else time.isoformat() for name, time in times.items()}


def environment(config_path: Path) -> Mapping[str, str]:
    """Return the environment. Outside the service, CREDENTIALS_DIRECTORY is the `credentials` folder beside the configuration."""
    credentials = config_path.parent / "credentials"
    if "CREDENTIALS_DIRECTORY" in os.environ or not credentials.is_dir():
        return os.environ
    return {**os.environ, "CREDENTIALS_DIRECTORY": str(credentials)}


def read_password(prompt: str) -> str:
    """Return a password from two prompts on a terminal, otherwise from a line of standard input. Raises UsageError if empty.

    A password is never an argument, which every user of the machine could read.
    """
    if sys.stdin.isatty():
        password = str(click.prompt(prompt, hide_input=True, confirmation_prompt="Repeat", err=True))
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise click.UsageError("the password is empty; type one, or pipe one line to standard input")
    return password
