"""What a configuration may say, and what then does not come of it: told by `check` and at the start, and nothing is refused."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from fnmatch import fnmatchcase

from mailbridge.config import Config, host_port, is_loopback
from mailbridge.errors import ConfigError
from mailbridge.webhook.schemas import EVENTS


def advice(config: Config) -> list[ConfigError]:
    """Return a warning for each key that does not do what it seems to, in the words of a mistake."""
    return [*_notices(config), *_events(config), *_logins(config)]


def _notices(config: Config) -> Iterator[ConfigError]:
    if config.notice.relay is not None:
        fault = "this version mails no notices to senders yet"
        yield ConfigError("notice.relay", fault, "let a webhook tell of fax.failed, or look at mailbridge queue --state failed")


def _events(config: Config) -> Iterator[ConfigError]:
    for name, webhook in config.webhooks.items():
        for pattern in webhook.events:
            if not any(fnmatchcase(type_, pattern) for type_ in EVENTS):
                near = difflib.get_close_matches(pattern, EVENTS, n=1)
                remedy = f"did you mean {near[0]}?" if near else "mailbridge events --schema has their names"
                yield ConfigError(f"webhook.{name}.events", f"no event is named {pattern!r}", remedy)


def _logins(config: Config) -> Iterator[ConfigError]:
    """Where a login is asked for: has anybody one, and is there TLS for it?"""
    smtp = config.smtp
    addresses = (*smtp.listen, *smtp.tls.listen)
    public = next((one for one in addresses if not is_loopback(host_port(one)[0])), None)
    asks = public or (next(iter(addresses), None) if smtp.auth == "required" else None)
    if asks is not None and not config.users:
        yield ConfigError("user", f"{asks} asks for a login, and nobody has one", "add [user.NAME] with a password_hash")
    if public is not None and smtp.tls.certificate is None:
        yield ConfigError(
            "smtp.tls.certificate", f"{public} takes no password without TLS", "set smtp.tls.certificate and smtp.tls.key"
        )
