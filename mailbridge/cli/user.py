"""`hash-password`: hashes the password of an SMTP user."""

from __future__ import annotations

import click

from mailbridge.cli.options import json_option, read_password
from mailbridge.cli.output import print_json

_SHORT = 8


@click.command("hash-password", epilog="Exit codes: 0 done, 2 no password.")
@json_option
def hash_password(as_json: bool) -> None:
    """Hash a password for password_hash of an SMTP user.

    Prompts twice on a terminal, otherwise reads one line from standard input.

    \b
      mailbridge hash-password
      openssl rand -base64 18 | tee scanner.password | mailbridge hash-password
    """
    password = read_password("Password")
    if len(password) < _SHORT:
        click.echo(f"mailbridge: warning: a password of fewer than {_SHORT} characters is easy to guess", err=True)
    from mailbridge.submission.password import hash_password as hashed

    if as_json:
        print_json({"password_hash": hashed(password)})
    else:
        click.echo(hashed(password))
