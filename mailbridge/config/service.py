"""What will stop the service, or make it useless, although the configuration is valid: for `mailbridge check`."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mailbridge.config.certificate import expiry
from mailbridge.config.model import Config
from mailbridge.errors import ConfigError

# Let's Encrypt renews a certificate 30 days before its end: with less left, the renewal does not work.
RENEWED_BEFORE = timedelta(days=14)


def expiry_errors(config: Config, now: datetime) -> list[ConfigError]:
    """Return an error if the certificate of the SMTP server has expired or expires soon."""
    path = config.smtp.tls.certificate
    end = None if path is None else expiry(path)
    if end is None or end - now > RENEWED_BEFORE:
        return []
    day = end.astimezone(UTC).strftime("%Y-%m-%d")
    fault = f"{path} expired on {day}" if end <= now else f"{path} expires on {day}, in {(end - now).days} days"
    return [ConfigError("smtp.tls.certificate", fault, "renew it, then run systemctl reload mailbridge")]


def access_errors(path: Path, tree: dict[str, Any], config: Config, user: str) -> list[ConfigError]:
    """Return an error for each file that `user` cannot read, and for a state_dir that it cannot use. Only root can ask this.

    `tree` is the content of the configuration file at `path`. Raises KeyError if there is no such user.
    """
    account = pwd.getpwnam(user)
    files = {"smtp.tls.certificate": config.smtp.tls.certificate, "smtp.tls.key": config.smtp.tls.key}
    files |= {"contacts.file": config.contacts.file, **dict(_secret_files(tree, ""))}
    with _acting_as(account):
        unreadable = {key: file for key, file in files.items() if file is not None and not _can(file, os.R_OK)}
        own = _can(path, os.R_OK)
        usable = not config.state_dir.exists() or _can(config.state_dir, os.R_OK | os.W_OK | os.X_OK)
    errors = [] if own else [_unreadable(str(path), path, user)]
    errors += [_unreadable(key, file, user) for key, file in unreadable.items()]
    if not usable:
        fault = f"{config.state_dir} cannot be written by the user {user}"
        errors.append(ConfigError("state_dir", fault, f"run chown -R {user}: {config.state_dir}"))
    return errors


def _unreadable(key: str, file: Path, user: str) -> ConfigError:
    remedy = f"give it to the group {user} with chgrp and chmod g+r, and let the user reach its directory"
    return ConfigError(key, f"{file} cannot be read by the user {user}, as which the service runs", remedy)


def _secret_files(value: Any, key: str) -> Iterator[tuple[str, Path]]:
    """Yield the keys and paths of all `{ file = PATH }`. Those of the table `contacts` are none."""
    if isinstance(value, list):
        for item in value:
            yield from _secret_files(item, key)
    elif isinstance(value, dict):
        if value.keys() == {"file"} and key != "contacts":
            yield key, Path(str(value["file"]))
            return
        for name, item in value.items():
            yield from _secret_files(item, f"{key}.{name}" if key else name)


def _can(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=True)


@contextlib.contextmanager
def _acting_as(account: pwd.struct_passwd) -> Iterator[None]:
    """Check files with the rights of another user. For a process with one thread, which runs as root."""
    groups, group, user = os.getgroups(), os.getegid(), os.geteuid()
    os.setgroups(os.getgrouplist(account.pw_name, account.pw_gid))
    os.setegid(account.pw_gid)
    os.seteuid(account.pw_uid)
    try:
        yield
    finally:
        os.seteuid(user)
        os.setegid(group)
        os.setgroups(groups)
