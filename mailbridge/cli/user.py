"""`user list` and `hash-password`: the users of SMTP and of the console."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mailbridge.cli.myfax_call import configuration
from mailbridge.cli.options import EXITS, config_option, json_option, read_password
from mailbridge.cli.output import print_json, print_table

if TYPE_CHECKING:
    from mailbridge.config import Config
    from mailbridge.config.users import User

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


@click.group(no_args_is_help=False)
def user() -> None:
    """List the users who may send faxes and use the console.

    A user is a section [user.NAME] of the configuration.
    """


@user.command("list", epilog=EXITS)
@json_option
@config_option
def list_(as_json: bool, config_path: Path) -> None:
    """List the users of the configuration, and what each may do. No password or hash is shown.

    \b
      mailbridge user list
      mailbridge user list --json
    """
    config = configuration(config_path)
    found = [_described(name, user, config) for name, user in config.users.items()]
    if as_json:
        print_json(found)
        return
    rows = [
        (
            user["name"],
            ", ".join([*(["password"] if user["password"] else []), *user["networks"]]),
            ", ".join(user["accounts"]),
            ", ".join(user["senders"]) or "any",
            ", ".join(user["allow"]) or "none",
            "none" if user["daily_limit"] is None else user["daily_limit"],
            user["role"],
        )
        for user in found
    ]
    heads = ("USER", "LOGIN", "ACCOUNTS", "SENDERS", "NUMBERS", "DAILY LIMIT", "ROLE")
    print_table(heads, rows, "the configuration has no users", prose=("SENDERS",))


def _described(name: str, user: User, config: Config) -> dict[str, Any]:
    accounts = config.accounts_of(name)
    return {
        "name": name,
        "role": user.role,
        "password": user.password_hash is not None,
        "networks": list(user.networks),
        "account": accounts[0],
        "accounts": list(accounts),
        "senders": list(user.senders),
        "allow": list(config.numbers.allow if user.allow is None else user.allow),
        "daily_limit": user.daily_limit,
        "language": user.language or config.language,
    }
