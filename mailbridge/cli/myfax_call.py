"""A call to MyFax from the command line, by an account or the distributor of the configuration, without a daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mailbridge.cli.options import environment
from mailbridge.errors import ConfigError, InDoubt, InvalidArgument, MyFaxError, NeedsPerson, NotTaken, Rejected

if TYPE_CHECKING:
    from mailbridge.config import Config
    from mailbridge.myfax import MyFax

T = TypeVar("T")

account_option = click.option("--account", metavar="NAME", help="The account to ask by.  [default: the first]")


def configuration(config_path: Path) -> Config:
    """Return the configuration. Raises ConfigError."""
    from mailbridge.config import load

    return load(config_path, environment(config_path))


def by_account(config: Config, name: str | None, work: Callable[[MyFax], Awaitable[T]]) -> T:
    """Do `work` with an account's access to MyFax.

    Raises UsageError where there is none of that name, and MyFaxError with its remedy.
    """
    account = config.default_account if name is None else name
    if account not in config.accounts:
        raise click.UsageError(f"--account names no account; write one of {', '.join(config.accounts)}")
    return _run(config, config.accounts[account], f"account.{account}", work)


def by_distributor(config: Config, what: str, work: Callable[[MyFax], Awaitable[T]]) -> T:
    """Do `work` with the distributor's access; `what` says in words what is in doubt where its answer was lost.

    Raises ConfigError without a distributor, and as `by_account`; InDoubt with its remedy.
    """
    if config.distributor is None:
        raise ConfigError("distributor", "is missing", "add [distributor] with email and password, as MyFax gave them to you")
    try:
        return _run(config, config.distributor, "distributor", work)
    except InDoubt as error:
        raise InDoubt(f"nobody knows whether {what}: {error}; it may have happened, so ask MyFax before you try again") from None


def _run(config: Config, login: Any, section: str, work: Callable[[MyFax], Awaitable[T]]) -> T:
    from zoneinfo import ZoneInfo

    from mailbridge.myfax import MyFax

    async def main() -> T:
        zone = ZoneInfo(config.timezone)
        async with MyFax(login.email, login.password, config.myfax.url, config.myfax.timeout, zone) as myfax:
            return await work(myfax)

    try:
        return asyncio.run(main())
    except (InDoubt, InvalidArgument):
        raise
    except Rejected as error:
        raise MyFaxError(f"{error}; look at what was asked for, and at the login in [{section}]") from None
    except NotTaken as error:
        raise MyFaxError(f"{error}; try again in a while, or look at myfax.url") from None
    except NeedsPerson as error:
        raise MyFaxError(f"{error}; look at myfax.url, which may name another address now") from None
