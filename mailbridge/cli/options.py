"""The options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import click

DEFAULT_CONFIG = "/etc/mailbridge/config.toml"


def environment(config_path: Path) -> Mapping[str, str]:
    """Return the environment, outside the service with the `credentials` beside the configuration that systemd hands to it."""
    beside = config_path.parent / "credentials"
    if "CREDENTIALS_DIRECTORY" in os.environ or not beside.is_dir():
        return os.environ
    return {**os.environ, "CREDENTIALS_DIRECTORY": str(beside)}


config_option = click.option(
    "--config",
    "config_path",
    metavar="FILE",
    type=click.Path(path_type=Path),
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
