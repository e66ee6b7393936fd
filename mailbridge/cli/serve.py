"""`serve`: the daemon."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import click

from mailbridge.cli.options import config_option


@click.command()
@config_option
def serve(config_path: Path) -> None:
    """Run the daemon until SIGTERM or Ctrl-C; SIGHUP reads the configuration again."""
    from mailbridge.process import serve as run

    asyncio.run(run(config_path, os.environ))
