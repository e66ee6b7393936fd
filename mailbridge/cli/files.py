"""`files`: writes the files that an installation needs and that pip does not install: units, completion, the man page."""

from __future__ import annotations

import os
import sys
from importlib.resources import files as resources
from pathlib import Path

import click

from mailbridge.cli.options import json_option
from mailbridge.cli.output import print_json

_EXITS = "Exit codes: 0 done, 1 a file cannot be written, 2 usage error."
# Where the units of the package expect the command.
_INSTALLED = "/opt/mailbridge/bin/mailbridge"
_COMPLETIONS = {"bash": "mailbridge", "zsh": "_mailbridge", "fish": "mailbridge.fish"}
_directory = click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))


@click.group(epilog=_EXITS)
def files() -> None:
    """Write files that come with mailbridge into a directory. A file that exists there is replaced.

    With --json a subcommand prints the paths for machines.

    \b
      mailbridge files systemd /etc/systemd/system
      mailbridge files man /usr/local/share/man/man1
    """


@files.command(epilog=_EXITS)
@_directory
@json_option
def systemd(directory: Path, as_json: bool) -> None:
    """Write the systemd units and config.example.toml.

    The units call this very installation; mailbridge.sysusers.conf makes their user.

    \b
      mailbridge files systemd /etc/systemd/system
    """
    source = resources("mailbridge") / "files"
    names = ("mailbridge.service", "mailbridge.socket", "mailbridge.sysusers.conf")
    texts = {name: (source / "systemd" / name).read_text(encoding="utf-8") for name in names}
    here = Path(sys.prefix) / "bin" / "mailbridge"
    if here.exists():
        texts["mailbridge.service"] = texts["mailbridge.service"].replace(_INSTALLED, str(here))
    texts["config.example.toml"] = (source / "config.example.toml").read_text(encoding="utf-8")
    _write(directory, texts, as_json)


@files.command(epilog=_EXITS)
@_directory
@click.option("--shell", type=click.Choice(list(_COMPLETIONS)), default="bash", show_default=True, help="Shell to complete in.")
@json_option
def completion(directory: Path, shell: str, as_json: bool) -> None:
    """Write the shell completion of commands and options.

    \b
      mailbridge files completion /usr/share/bash-completion/completions
    """
    from click.shell_completion import get_completion_class

    from mailbridge.cli import mailbridge

    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(mailbridge, {}, "mailbridge", "_MAILBRIDGE_COMPLETE")
    _write(directory, {_COMPLETIONS[shell]: script.source_template % script.source_vars()}, as_json)


@files.command(epilog=_EXITS)
@_directory
@json_option
def man(directory: Path, as_json: bool) -> None:
    """Write the man page, which is made from the help pages.

    \b
      mailbridge files man /usr/local/share/man/man1
    """
    from mailbridge.cli.man_page import man_page

    _write(directory, {"mailbridge.1": man_page()}, as_json)


def _write(directory: Path, texts: dict[str, str], as_json: bool) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (directory / name).write_text(text, encoding="utf-8")
            (directory / name).chmod(0o644)
    except OSError as error:
        where, why = error.filename or directory, os.strerror(error.errno or 0)
        raise click.ClickException(f"{where} cannot be written ({why}); use sudo, or name another directory") from None
    paths = [str(directory / name) for name in texts]
    if as_json:
        print_json({"files": paths})
    else:
        for path in paths:
            click.echo(path)
