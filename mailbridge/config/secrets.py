"""Secrets kept outside the file: `{ file = PATH }`, `{ env = NAME }` and `{ credential = NAME }`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mailbridge.errors import ConfigError

_KEYS = ("password", "secret", "client_secret", "refresh_token", "relay", "password_hash")
_URLS = (("store", "url"), ("store", "listen_url"))  # which may contain a password
_SOURCES = {"file", "env", "credential"}


def resolve(value: Any, path: tuple[str, ...], environ: Mapping[str, str], errors: list[ConfigError]) -> Any:
    """Return `value`, which is at `path`, with every reference to a secret replaced by the secret; failures go to `errors`."""
    if isinstance(value, list):
        return [resolve(item, path, environ, errors) for item in value]
    if not isinstance(value, dict):
        return value
    if _is_secret(path) and (len(value) == 1 or (value and value.keys() <= _SOURCES)):
        try:
            if len(value) > 1:
                raise ConfigError("", "must have one source", f"keep one of {', '.join(value)}")
            [(kind, name)] = value.items()
            return _secret(kind, name, environ)
        except ConfigError as error:
            errors.append(ConfigError(".".join(path), error.fault, error.remedy))
            # A placeholder that is not empty, so that validation still checks the keys beside this one.
            return "unknown"
    return {key: resolve(item, (*path, key), environ, errors) for key, item in value.items()}


def _is_secret(path: tuple[str, ...]) -> bool:
    return bool(path) and (path[-1] in _KEYS or path in _URLS or "headers" in path[-2:-1])


def _secret(kind: str, name: object, environ: Mapping[str, str]) -> str:
    if kind == "env":
        if str(name) not in environ:
            raise ConfigError(
                "",
                f"environment variable {name} is not set",
                f"set {name} (for the service, in /etc/mailbridge/environment), or use {{ file = … }}",
            )
        return environ[str(name)]
    if kind not in _SOURCES:
        raise ConfigError("", f"unknown source {kind!r}", "write { file = PATH }, { env = NAME } or { credential = NAME }")
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if kind == "credential" and directory is None:
        raise ConfigError(
            "",
            "no systemd credentials are available",
            f"run as the service, with {name} in /etc/mailbridge/credentials or LoadCredential={name}:PATH in its unit",
        )
    source = Path(str(name)) if kind == "file" else _credential(Path(str(directory)), str(name))
    try:
        return source.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        remedy = "check the path, and that the user mailbridge may read it"
        if kind == "credential" and isinstance(error, PermissionError):
            remedy = "run this command as root: systemd passes credentials to the service, and only root may read their files"
        raise ConfigError("", f"{source} cannot be read ({why})", remedy) from None


def _credential(directory: Path, name: str) -> Path:
    """Return a credential's file. Credentials loaded from a directory have the unit's ID in front of their names."""
    prefixed = directory / f"mailbridge_{name}"
    return prefixed if prefixed.exists() and not (directory / name).exists() else directory / name
