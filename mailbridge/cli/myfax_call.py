"""Calls to MyFax without the daemon, with the login of an account or of the distributor."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mailbridge.cli.options import environment
from mailbridge.errors import ConfigError, InDoubt, InvalidArgument, MyFaxError, NeedsPerson, NotTaken, Rejected
from mailbridge.preload import quick_imports

if TYPE_CHECKING:
    from mailbridge.config import Config
    from mailbridge.myfax import MyFax

T = TypeVar("T")


def configuration(config_path: Path) -> Config:
    """Return the configuration. Raises ConfigError."""
    with quick_imports():
        from mailbridge.config import load

    return load(config_path, environment(config_path))


def by_account(config: Config, name: str | None, work: Callable[[MyFax], Awaitable[T]]) -> T:
    """Do `work` with a MyFax client for an account.

    Raises UsageError for an unknown account, MyFaxError with its remedy.
    """
    account = config.default_account if name is None else name
    if account not in config.accounts:
        raise click.UsageError(f"unknown account {name!r}; write one of {', '.join(config.accounts)}")
    return _run(config, config.accounts[account], f"account.{account}", work)


def by_distributor(config: Config, what: str, work: Callable[[MyFax], Awaitable[T]]) -> T:
    """Do `work` with a MyFax client for the distributor. `what` describes it, for the error if the answer is lost.

    Raises ConfigError without a distributor, InDoubt and MyFaxError with their remedies.
    """
    if config.distributor is None:
        raise ConfigError("distributor", "is missing", "add [distributor] with your email and password as a distributor")
    try:
        return _run(config, config.distributor, "distributor", work)
    except InDoubt as error:
        raise InDoubt(f"unknown whether {what}: {error}; check with MyFax before you try again") from None


def _run(config: Config, login: Any, section: str, work: Callable[[MyFax], Awaitable[T]]) -> T:
    from zoneinfo import ZoneInfo

    with quick_imports():
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
        raise MyFaxError(f"{error}; check the request, and the login in [{section}]") from None
    except NotTaken as error:
        raise MyFaxError(f"{error}; try again later, or check myfax.url") from None
    except NeedsPerson as error:
        raise MyFaxError(f"{error}; check whether myfax.url has changed") from None
