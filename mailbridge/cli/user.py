"""`hash-password`: the hash of an SMTP user's password."""

from __future__ import annotations

import click

from mailbridge.cli.options import json_option, read_password
from mailbridge.cli.output import print_json


@click.command("hash-password", epilog="Exit codes: 0 done, 2 no password was given.")
@json_option
def hash_password(as_json: bool) -> None:
    """Make the password_hash of an SMTP user.

    Asks twice on a terminal; else reads one line from standard input.

    \b
      mailbridge hash-password
      openssl rand -base64 18 | tee scanner.password | mailbridge hash-password
    """
    password = read_password("Password")
    from mailbridge.submission.password import hash_password as hashed

    if as_json:
        print_json({"password_hash": hashed(password)})
    else:
        click.echo(hashed(password))
