"""`hash-password`: the hash of an SMTP user's password."""

from __future__ import annotations

import click

from mailbridge.cli.options import read_password


@click.command("hash-password")
def hash_password() -> None:
    """Make the password_hash of an SMTP user.

    Asks twice on a terminal; else reads one line from standard input.
    """
    password = read_password("Password")
    from mailbridge.submission.password import hash_password as hashed

    click.echo(hashed(password))
