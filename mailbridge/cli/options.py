"""What several commands ask of their caller: options, and a password."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import click

# The end of a page of help.
EXITS = "Exit codes: 0 done, 1 refused or failed, 2 wrong use, 78 bad configuration."

DEFAULT_CONFIG = "/etc/mailbridge/config.toml"


def environment(config_path: Path) -> Mapping[str, str]:
    """Return the environment, outside the service with the `credentials` beside the configuration that systemd hands to it."""
    beside = config_path.parent / "credentials"
    if "CREDENTIALS_DIRECTORY" in os.environ or not beside.is_dir():
        return os.environ
    return {**os.environ, "CREDENTIALS_DIRECTORY": str(beside)}


def read_password(prompt: str) -> str:
    """Return a password: asked for twice on a terminal, else a line of standard input. Raises UsageError for an empty one.

    It is never an argument, which every user of the machine could read.
    """
    if sys.stdin.isatty():
        password = str(click.prompt(prompt, hide_input=True, confirmation_prompt="Again", err=True))
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise click.UsageError("the password is empty; type one, or pipe one line into standard input")
    return password


config_option = click.option(
    "--config",
    "config_path",
    metavar="FILE",
    # What cannot be read is a bad configuration, which click would call a wrong use.
    type=click.Path(path_type=Path, readable=False),
    envvar="MAILBRIDGE_CONFIG",
    default=DEFAULT_CONFIG,
    show_default=True,
    show_envvar=True,
    help="The configuration.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
limit_option = click.option(
    "--limit", metavar="N", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many at most."
)
