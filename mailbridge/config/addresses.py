"""Network addresses in the configuration: host and port, loopback, URLs."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import BeforeValidator

from mailbridge.config.values import wrong


def host_port(value: str) -> tuple[str, int]:
    """Split `host:port` or `[v6]:port`. Raises ValueError."""
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(value)
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def http_url(key: str, url: str, remedy: str) -> SplitResult:
    """Split an http or https URL. Raises a validation error for anything else, with the key's name and this remedy."""
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and re.fullmatch(r"[^\s\x00-\x1f\x7f]+", url):
            return parts
    except ValueError:
        pass
    # The message does not repeat the URL, which may contain a secret.
    raise wrong(f"{key} is not a valid http or https URL", remedy)


def _listen(value: object) -> object:
    try:
        host_port(str(value))
    except ValueError:
        raise wrong(
            f"{value!r} is not a valid address", 'write host:port with a port from 0 to 65535, such as "127.0.0.1:2525"'
        ) from None
    return value


Listen = Annotated[str, BeforeValidator(_listen)]
