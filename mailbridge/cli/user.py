"""`hash-password`: the hash of an SMTP user's password, which is never an argument."""

from __future__ import annotations

import sys

import click


@click.command("hash-password")
def hash_password() -> None:
    """Make the password_hash of an SMTP user.

    Asks twice on a terminal; else reads one line from standard input.
    """
    if sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt="Again", err=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise click.UsageError("the password is empty; type one, or pipe one line into standard input")
    from mailbridge.submission.password import hash_password as hashed

    click.echo(hashed(password))
