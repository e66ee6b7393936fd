"""Checks the filters of webhooks: whether the users, mailboxes and numbers that they name can exist."""

from __future__ import annotations

from collections.abc import Iterator

from mailbridge.config.model import Config
from mailbridge.errors import ConfigError


def filter_errors(config: Config) -> Iterator[ConfigError]:
    """Yield an error for each filter that no event could ever pass."""
    for name, webhook in config.webhooks.items():
        for key, named, known in (("users", webhook.users, config.users), ("mailboxes", webhook.mailboxes, config.mailboxes)):
            for one in named:
                if one not in known:
                    remedy = f"write one of {', '.join(known)}" if known else f"remove it: the file has no {key}"
                    yield ConfigError(
                        f"webhook.{name}.{key}", f"unknown {key.removesuffix('s').removesuffix('e')} {one!r}", remedy
                    )
        for written in webhook.numbers:
            if not written.startswith("+"):
                yield from _number_errors(name, written, config.smtp.region)


def _number_errors(name: str, written: str, region: str) -> Iterator[ConfigError]:
    # Loads phonenumbers, which most commands do not need.
    from mailbridge.phone.number import NumberFault, parse_number

    try:
        parse_number(written, region)
    except NumberFault as error:
        remedy = f"{error.remedy}; write a prefix with its country code, such as +9723"
        yield ConfigError(f"webhook.{name}.numbers", f"{written!r}: {error.fault}", remedy)
