"""Reads the configuration file: TOML and secrets become a Config, or errors with key, fault and remedy."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mailbridge.config.contacts_file import with_contacts_file
from mailbridge.config.errors import config_error
from mailbridge.config.files import file_errors
from mailbridge.config.filters import filter_errors
from mailbridge.config.model import Config
from mailbridge.config.secrets import resolve
from mailbridge.errors import ConfigError


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """Read a configuration. Raises ConfigError for its first error; the other errors are in its `others`."""
    config, errors = _read(path, environ)
    if config is None:
        first, *others = errors
        first.others = tuple(others)
        raise first
    return config


def problems(path: Path, environ: Mapping[str, str]) -> list[ConfigError]:
    """Return every error of a configuration; an empty list if it is valid."""
    return _read(path, environ)[1]


def _read(path: Path, environ: Mapping[str, str]) -> tuple[Config | None, list[ConfigError]]:
    try:
        tree = parse(path)
    except ConfigError as error:
        return None, [error]
    errors: list[ConfigError] = list(_plurals(tree))
    tree = resolve(tree, (), environ, errors)
    errors += _unknown_accounts(tree)
    if "STATE_DIRECTORY" in environ:
        tree.setdefault("state_dir", environ["STATE_DIRECTORY"].split(":")[0])
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        known = {one.key for one in errors}
        found = [config_error(detail, Config) for detail in error.errors(include_url=False)]
        return None, errors + [one for one in found if one.key not in known]
    config, of_contacts = with_contacts_file(config)
    errors += [*file_errors(config), *of_contacts, *config.contact_errors, *_overlapping_networks(config), *filter_errors(config)]
    return (None if errors else config), errors


def parse(path: Path) -> dict[str, Any]:
    """Return the content of a configuration file. Raises ConfigError."""
    text = ""
    try:
        # Notepad on Windows writes a byte order mark.
        text = path.read_text(encoding="utf-8-sig")
        return tomllib.loads(text)
    except OSError as error:
        fault, remedy = f"cannot be read ({error.strerror})", "name the file with --config or MAILBRIDGE_CONFIG"
    except UnicodeDecodeError:
        fault, remedy = "is not UTF-8", "save it as UTF-8"
    except tomllib.TOMLDecodeError as error:
        fault, remedy = _toml_error(text, error)
    raise ConfigError(str(path), fault, remedy)


def _toml_error(text: str, error: tomllib.TOMLDecodeError) -> tuple[str, str]:
    """Return the fault and remedy of a file that is not TOML."""
    line = re.search(r"at line (\d+)", str(error))
    written = text.splitlines()[int(line[1]) - 1].strip() if line and int(line[1]) <= len(text.splitlines()) else ""
    table = re.fullmatch(r"\[([a-z]+)\.([^\]\"']*[^\w\]\"'.-][^\]\"']*)\]", written)
    if table:
        return f"invalid TOML: {error}", f'put the name in quotes: [{table[1]}."{table[2]}"]'
    return f"invalid TOML: {error}", "fix that line: put strings in quotes, and define each table and key once"


def _plurals(tree: dict[str, Any]) -> Iterator[ConfigError]:
    """Yield an error for each table that is named as the program names it, such as [users.anna], and drop it."""
    for name, field in Config.model_fields.items():
        if field.alias is not None and tree.pop(name, None) is not None:
            yield ConfigError(name, "unknown key", f"did you mean {field.alias}?")


def _unknown_accounts(tree: Mapping[str, Any]) -> Iterator[ConfigError]:
    """Yield an error for each user, mailbox, route and webhook that names an account which is not in the file."""
    accounts = tree.get("account")
    if not isinstance(accounts, dict):
        return
    for noun in ("user", "mailbox", "route", "webhook"):
        section = tree.get(noun)
        for name, entry in section.items() if isinstance(section, dict) else ():
            for key, account in _named_accounts(entry):
                if account not in accounts:
                    remedy = f"write one of {', '.join(accounts)}"
                    yield ConfigError(f"{noun}.{name}.{key}", f"unknown account {account!r}", remedy)


def _named_accounts(entry: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(entry, dict):
        return
    for key in ("account", "accounts"):
        named = entry.get(key)
        for account in named if isinstance(named, list) else [named] if isinstance(named, str) else []:
            yield key, str(account)


def _overlapping_networks(config: Config) -> Iterator[ConfigError]:
    """Yield an error for each network of a user that overlaps one of another user: a client must be one user."""
    seen: list[tuple[str, IPv4Network | IPv6Network]] = []
    for name, user in config.users.items():
        mine = [ip_network(network) for network in user.networks]
        for network in mine:
            for other, taken in seen:
                if network.version == taken.version and network.overlaps(taken):
                    fault = f"{network} overlaps {taken} of user {other}"
                    yield ConfigError(f"user.{name}.networks", fault, "give each client to one user")
        seen += [(name, network) for network in mine]
