"""Warnings about a valid configuration: keys that have no effect or not the expected one."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase

from mailbridge.config.addresses import host_port, is_loopback
from mailbridge.config.model import Config
from mailbridge.errors import ConfigError


def config_warnings(config: Config, event_types: Collection[str]) -> list[ConfigError]:
    """Return a warning for each key without the effect that it seems to have. `event_types` are all that exist."""
    return [
        *_notices(config),
        *_events(config, event_types),
        *login_errors(config),
        *_old_tls(config),
        *_lists(config),
        *_console(config),
        *_database(config),
    ]


def _notices(config: Config) -> Iterator[ConfigError]:
    """Is anything to be mailed, but no relay set? Is a folder missing?"""
    if config.notice.relay is None:
        mailed = [f"route.{name}.mail" for name, route in config.routes.items() if route.mail]
        keys = [f"notice.{name}" for name in type(config.notice).model_fields if name in config.notice.model_fields_set]
        for key in [*keys, *mailed][:1]:
            yield ConfigError(key, "nothing is mailed without notice.relay", "set notice.relay to your mail server")
    for name, route in config.routes.items():
        if route.folder is not None and not route.folder.is_dir():
            yield ConfigError(f"route.{name}.folder", f"{route.folder} is not a directory now", "create it, or correct the path")


def _events(config: Config, event_types: Collection[str]) -> Iterator[ConfigError]:
    for name, webhook in config.webhooks.items():
        for pattern in webhook.events:
            if not any(fnmatchcase(type_, pattern) for type_ in event_types):
                near = difflib.get_close_matches(pattern, event_types, n=1)
                remedy = f"did you mean {near[0]}?" if near else "mailbridge events --schema lists the types"
                yield ConfigError(f"webhook.{name}.events", f"no event type matches {pattern!r}", remedy)


def login_errors(config: Config) -> Iterator[ConfigError]:
    """Where a login is required: does a user exist, and does TLS protect the password? If not, nobody there can send."""
    smtp = config.smtp
    addresses = (*smtp.listen, *smtp.tls.listen)
    public = next((one for one in addresses if not is_loopback(host_port(one)[0])), None)
    protected = public or (next(iter(addresses), None) if smtp.auth == "required" else None)
    if protected is not None and not config.users:
        yield ConfigError(
            "user", f"{protected} requires authentication, but there are no users", "add [user.NAME] with a password_hash"
        )
    if public is not None and smtp.tls.certificate is None and any(user.password_hash for user in config.users.values()):
        yield ConfigError("smtp.tls.certificate", f"{public} accepts no passwords without TLS", "set certificate and key")


def _old_tls(config: Config) -> Iterator[ConfigError]:
    minimum = config.smtp.tls.minimum
    if minimum in ("1.0", "1.1"):
        remedy = 'write "1.2" as soon as no old machine needs less'
        yield ConfigError("smtp.tls.minimum", f"TLS {minimum} is not secure", remedy)


def _lists(config: Config) -> Iterator[ConfigError]:
    """Is a list too long for one mail?"""
    for name, numbers in config.directory.numbers.items():
        if len(numbers) > config.smtp.max_recipients:
            fault = f"the list has {len(numbers)} numbers, more than a mail may have recipients, and is always refused"
            yield ConfigError(f"contacts.{name}", fault, "split the list, or raise smtp.max_recipients")


def _console(config: Config) -> Iterator[ConfigError]:
    """Can anybody log in to the console?"""
    if config.http.console and config.http.proxy_user is None and not any(user.password_hash for user in config.users.values()):
        yield ConfigError("http.console", "nobody can log in", "add a [user.NAME] with a password_hash and a role")


def _database(config: Config) -> Iterator[ConfigError]:
    """May the database lose commits?"""
    if config.store.url is not None and config.store.unsafe:
        fault = "a server that loses commits in a crash is accepted, and then faxes are lost or sent twice"
        yield ConfigError("store.unsafe", fault, "remove it, unless this is a test")
