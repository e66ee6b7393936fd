"""`help`: the help page of a command."""

from __future__ import annotations

import click


@click.command("help", epilog="Exit codes: 0 done, 2 unknown command.")
@click.argument("words", metavar="[COMMAND]...", nargs=-1)
def help_(words: tuple[str, ...]) -> None:
    """Show the help page of a command, or the list of commands.

    \b
      mailbridge help queue
      mailbridge help line register
    """
    from mailbridge.cli import mailbridge

    command: click.Command = mailbridge
    context = click.Context(mailbridge, info_name="mailbridge", **mailbridge.context_settings)
    for word in words:
        inner = command.get_command(context, word) if isinstance(command, click.Group) else None
        if inner is None:
            raise click.UsageError(f"no such command: {' '.join(words)}")
        command = inner
        context = click.Context(command, info_name=word, parent=context)
    click.echo(command.get_help(context))
