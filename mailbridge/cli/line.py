"""`line register` and `line release`: fax lines of a distributor."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from mailbridge.cli.myfax_call import by_distributor, configuration
from mailbridge.cli.options import EXITS, config_option, json_option, read_password
from mailbridge.cli.output import plain, print_json

if TYPE_CHECKING:
    from mailbridge.config import Config
    from mailbridge.myfax import RegisterAnswer

_TYPES: dict[str, Literal[1, 17]] = {"mobile": 1, "landline": 17}


@click.group(no_args_is_help=False)
def line() -> None:
    """Register or release a fax line, as a distributor of MyFax.

    Both commands work without a daemon, with the login in [distributor], and have --json.
    """


@line.command(epilog=EXITS)
@click.argument("email")
@click.option("--number", metavar="N", help="Requested number.  [default: MyFax chooses]")
@click.option("--type", "type_", type=click.Choice(list(_TYPES)), help="Kind of number.  [default: mobile]")
@click.option("--name", metavar="NAME", help="Full name of the user.")
@click.option("--company", metavar="NAME", help="Company of the user.")
@click.option("--address", metavar="ADDRESS", help="Address of the company.")
@click.option("--ask-password", is_flag=True, help="Set the user's password, from a prompt or standard input.")
@json_option
@config_option
def register(
    email: str,
    number: str | None,
    type_: str | None,
    name: str | None,
    company: str | None,
    address: str | None,
    ask_password: bool,
    as_json: bool,
    config_path: Path,
) -> None:
    """Create a MyFax user with a fax line. MyFax may charge for it.

    \b
      mailbridge line register dana@example.co.il --name "Dana Levi"
      mailbridge line register dana@example.co.il --number 03-9876543 --type landline
    """
    config = configuration(config_path)
    password = read_password("Password of the user") if ask_password else None
    wanted = None if number is None else _international(number, config)
    what = f"MyFax registered {plain(email)}" + (f" with {wanted}" if wanted else "")
    answer = by_distributor(
        config,
        what,
        lambda myfax: myfax.register(
            email,
            full_name=name,
            password=password,
            company_name=company,
            company_address=address,
            type=None if type_ is None else _TYPES[type_],
            requested_number=wanted,
        ),
    )
    if as_json:
        print_json(_payload(answer, email))
    else:
        _print(_payload(answer, email))


def _print(user: dict[str, Any]) -> None:
    click.echo(f"{plain(user['email'])} has {plain(user['number'])}")
    for fact in ("user_id", "price", "expires"):
        if user[fact] is not None:
            click.echo(f"  {fact.replace('_', ' '):8} {plain(user[fact])}")


def _payload(answer: RegisterAnswer, email: str) -> dict[str, Any]:
    return {
        "user_id": answer.user_id,
        "email": answer.email or email,
        "number": answer.fax_number,
        "price": None if answer.price is None else str(answer.price),
        "expires": answer.expire,
    }


@line.command(epilog=EXITS, short_help="Release a fax line and its number.")
@click.option("--number", metavar="N", help="Number of the line.")
@click.option("--user", metavar="EMAIL", help="Email address of the line's user.")
@click.option("--no-renew", "no_renew", is_flag=True, help="Release it when the paid period ends, not now.")
@click.option("--block", is_flag=True, help="Also block the user.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@json_option
@config_option
def release(
    number: str | None, user: str | None, no_renew: bool, block: bool, yes: bool, as_json: bool, config_path: Path
) -> None:
    """Release a fax line. Its number is lost, and faxes to it are no longer received.

    \b
      mailbridge line release --number 03-9876543 --no-renew
      mailbridge line release --user dana@example.co.il --block
    """
    if (number is None) == (user is None):
        raise click.UsageError("give either --number or --user")
    if no_renew and block:
        raise click.UsageError("give either --no-renew or --block")
    config = configuration(config_path)
    did = None if number is None else _international(number, config)
    which = f"the line {did}" if did else f"the line of {plain(user)}"
    _confirm(f"{which}, for {config.distributor.email}" if config.distributor else which, yes)
    action: Literal["noRenew", "blockUser"] | None = "noRenew" if no_renew else "blockUser" if block else None
    answer = by_distributor(
        config, f"MyFax released {which}", lambda myfax: myfax.release(line=did, user_email=user, action=action)
    )
    if as_json:
        print_json({"number": did, "user": user, "action": action, "text": answer.text})
    else:
        click.echo(
            f"{which} will not be renewed" if no_renew else f"{which} is released" + (", and its user blocked" if block else "")
        )


def _confirm(which: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.ClickException(f"releasing {which} needs confirmation; run it on a terminal, or add --yes")
    if not click.confirm(f"Release {which}? Its number will be lost", err=True):
        raise click.ClickException(f"{which} was not released")


def _international(number: str, config: Config) -> str:
    """Return a number in E.164, as MyFax requires. Local numbers belong to `smtp.region`."""
    from mailbridge.phone.printed_number import printed_number

    found = printed_number(number, config.smtp.region)
    if found is None:
        raise click.UsageError("--number is not a telephone number; write it as +97239876543")
    return found
