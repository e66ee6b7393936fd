"""The man page mailbridge(1), made from the help pages (man(7), groff_man(7))."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

from mailbridge import __version__
from mailbridge.cli import COMMANDS, mailbridge


def man_page() -> str:
    """Return the page as roff."""
    root = click.Context(mailbridge, info_name="mailbridge")
    lines = [
        f'.TH MAILBRIDGE 1 "" "mailbridge {__version__}" "User Commands"',
        ".SH NAME",
        r"mailbridge \- email gateway for the fax service MyFax",
        ".SH SYNOPSIS",
        ".B mailbridge",
        r".I COMMAND",
        r"[\fIOPTION\fR]... [\fIARGUMENT\fR]...",
        ".SH DESCRIPTION",
        *_text(mailbridge.help or ""),
        ".SH COMMANDS",
        *(line for name in COMMANDS for line in _command(root, name, mailbridge.get_command(root, name))),
        ".SH ENVIRONMENT",
        ".TP",
        ".B MAILBRIDGE_CONFIG",
        "Configuration file, unless \\-\\-config names another.",
        ".SH FILES",
        ".TP",
        ".I /etc/mailbridge/config.toml",
        "Configuration.",
        ".TP",
        ".I /var/lib/mailbridge",
        "Database and spool.",
        ".SH EXIT STATUS",
        "0 done, 1 refused or failed, 2 usage error, 78 bad configuration, 130 stopped by Ctrl\\-C.",
    ]
    return "\n".join(lines) + "\n"


def _command(parent: click.Context, name: str, command: click.Command | None) -> Iterator[str]:
    assert command is not None
    context = click.Context(command, info_name=name, parent=parent)
    yield f".SS {_escaped(context.command_path)} {_escaped(' '.join(command.collect_usage_pieces(context)))}"
    yield from _text(command.help or "")
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and "--help" not in record[0]:
            yield from (".TP", f".B {_escaped(record[0])}", _escaped(" ".join(record[1].split())))
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            yield from _command(context, inner, command.get_command(context, inner))


def _text(help: str) -> Iterator[str]:
    r"""Yield the paragraphs of a help text; one after \b is printed as it is."""
    for paragraph in re.split(r"\n\s*\n", help.strip("\n")):
        literal = paragraph.lstrip().startswith("\b")
        yield ".PP"
        if literal:
            rows = paragraph.replace("\b\n", "", 1).strip("\n").split("\n")
            yield from (".nf", *(_escaped(line) for line in rows), ".fi")
        else:
            yield _escaped(" ".join(paragraph.split()))


def _escaped(text: str) -> str:
    r"""Return a text in which no character has a meaning for roff. A hyphen is one that can be copied: `\-`."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{escaped}" if escaped.startswith((".", "'")) else escaped
