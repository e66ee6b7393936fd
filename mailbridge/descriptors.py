"""File descriptors: connections get what is left when some are kept for the spool and the database."""

from __future__ import annotations

import resource
from typing import Final, NamedTuple

KEPT: Final = 50  # for the spool, the database, mailboxes, MyFax and webhooks
_MOST_HTTP: Final = 100
_LEAST: Final = 4  # connections of either kind, however few descriptors there are


class Connections(NamedTuple):
    """How many connections the limit of file descriptors (`limit`, RLIMIT_NOFILE) allows."""

    limit: int
    smtp: int
    http: int


def allowed_connections() -> Connections:
    """Return how many connections this process may have. One of SMTP takes two descriptors: its socket, and a mail's file."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        limit = 1 << 20
    free = max(0, limit - KEPT)
    http = max(_LEAST, min(_MOST_HTTP, free // 5))
    return Connections(limit, max(_LEAST, (free - http) // 2), http)
