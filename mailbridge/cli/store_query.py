"""Requests to the daemon, or to the store itself while no daemon runs."""

from __future__ import annotations

import os
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mailbridge.cli.options import environment
from mailbridge.control.client import NoDaemon, call_first, start_hint
from mailbridge.control.socket_path import candidates
from mailbridge.errors import ConfigError, ControlError, StateLocked
from mailbridge.preload import quick_imports

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

# Seconds to wait while a daemon that starts or stops, or another command, has the state_dir locked; and between attempts.
_LOCK_TIMEOUT, _LOCK_INTERVAL = 5.0, 0.2


def ask(config_path: Path, command: str, **args: object) -> Any:
    """Return the answer to a command of `control.commands`. Raises ConfigError, ControlError, NotFound, StoreUnavailable.

    A PostgreSQL database answers also where its daemons run on other machines.
    """
    state_dir, deadline = find_state_dir(config_path), time.monotonic() + _LOCK_TIMEOUT
    while True:
        try:
            return call_first(candidates(state_dir, os.environ), command, **args)
        except NoDaemon:
            if not (is_shared(config_path) or (state_dir / "mailbridge.sqlite3").exists()):
                raise ControlError(
                    f"no daemon runs with state_dir {state_dir}, and there is no database; {start_hint()}"
                ) from None
        try:
            return _ask_store(config_path, command, args)
        except StateLocked:
            if time.monotonic() >= deadline:
                raise ControlError(
                    "the daemon is starting or stopping; try again, or set $RUNTIME_DIRECTORY as the daemon has it"
                ) from None
        time.sleep(_LOCK_INTERVAL)


def person() -> dict[str, str]:
    """Return who calls a command, for the audit: the user of the system, also behind sudo."""
    import getpass

    try:
        user = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # no such user, as in a container
        user = str(os.getuid())
    return {"user": user, "via": "command line"}


def ask_daemon(config_path: Path, command: str, body: bytes, /, **args: object) -> Any:
    """Return the daemon's answer to a command with a body. Raises ConfigError, ControlError (also if no daemon runs)."""
    return call_first(candidates(find_state_dir(config_path), os.environ), command, body, **args)


def ask_daemon_first(config_path: Path, command: str, **args: object) -> Any:
    """Return the daemon's answer to a command that only a daemon has. Raises ConfigError, ControlError, NoDaemon."""
    return call_first(candidates(find_state_dir(config_path), os.environ), command, **args)


def find_state_dir(config_path: Path) -> Path:
    """Return only the state_dir, so that a user of the daemon need not be able to read its secrets. Raises ConfigError."""
    given = _tree(config_path).get("state_dir") or os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    return Path(str(given or "/var/lib/mailbridge"))


def is_shared(config_path: Path) -> bool:
    """Return whether the configuration names a PostgreSQL database. Raises ConfigError."""
    options = _tree(config_path).get("store")
    return isinstance(options, dict) and "url" in options


def find_zone(config_path: Path) -> ZoneInfo:
    """Return the time zone of the configuration, in which times are shown. Raises ConfigError."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(str(_tree(config_path).get("timezone", "Asia/Jerusalem")))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError("timezone", "is not a known time zone", 'write an IANA name such as "Asia/Jerusalem"') from None


def find_accounts(config_path: Path) -> list[str]:
    """Return the names of the MyFax accounts. Raises ConfigError."""
    accounts = _tree(config_path).get("account")
    return list(accounts) if isinstance(accounts, dict) else []


def _tree(config_path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(config_path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        from mailbridge.config import problems

        raise next(
            iter(problems(config_path, environment(config_path))), ConfigError(str(config_path), "cannot be read", "try again")
        ) from None


def _ask_store(config_path: Path, command: str, args: dict[str, object]) -> Any:
    import asyncio

    with quick_imports():
        from mailbridge.assembly import document_links, link_renderer
        from mailbridge.clock import Clock
        from mailbridge.config import load
        from mailbridge.control.commands import bind
        from mailbridge.stores import open_store
        from mailbridge.web.link_key import find_link_key

    async def work() -> Any:
        config = load(config_path, environment(config_path))
        async with open_store(config) as store:
            clock = store.shared_clock or Clock()
            links = document_links(config, await find_link_key(store, config.state_dir))
            render = link_renderer(links, clock)
            return await bind(store, clock, render)[command](**args)

    return asyncio.run(work())
