"""Connections of the SMTP service: how many there may be, and which one gives way to a new one. Pure.

Whoever connects and says nothing must not keep others out. So a connection that finds no place free gets that of the one that has
been silent longest, of the client that has most of them, unless that one has logged in or has a mail under way.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

from mailbridge.client_group import client_group

# Of all connections, the share of those that must log in and have not: the rest is kept for who has.
_SHARE_BEFORE_LOGIN: Final = 0.8
# Seconds that a connection is silent before it gives way to one of a client that has as many: it may only be about to speak.
_LEAST_SILENCE: Final = 2.0


class Connection(Protocol):
    """One connection. `active_at` is when its client last sent something, in seconds of a clock that is never set."""

    @property
    def active_at(self) -> float: ...

    @property
    def gives_way(self) -> bool:
        """Whether it has not logged in and has no mail under way."""
        ...

    def cut(self) -> None:
        """Close it at once."""


class ConnectionLimits:
    """Counts connections, at most `maximum` and of one client at most `maximum_per_client`.

    Where clients must log in (`login_required`), those that have not logged in get a part of the places.
    """

    def __init__(self, maximum: int, maximum_per_client: int, *, login_required: bool = False) -> None:
        self.change(maximum, maximum_per_client, login_required=login_required)
        self._open: dict[str, set[Connection]] = {}
        self._clients: dict[Connection, str] = {}
        self._logged_in: set[Connection] = set()

    def change(self, maximum: int, maximum_per_client: int, *, login_required: bool) -> None:
        """Set other limits, for the connections that come from now on."""
        self._maximum, self._maximum_per_client = maximum, maximum_per_client
        self._maximum_before_login = max(1, int(maximum * _SHARE_BEFORE_LOGIN)) if login_required else maximum

    def acquire(self, client: str, connection: Connection, now: float) -> bool:
        """Count one more connection, and cut another if it finds no place; False, uncounted, if none gives way."""
        group = client_group(client)
        own = self._open.get(group, set())
        if len(own) >= self._maximum_per_client:
            victim = _longest_silent(own, now - _LEAST_SILENCE)
        elif self._is_full():
            victim = self._of_greediest(len(own), now)
        else:
            self._add(group, connection)
            return True
        if victim is None:
            return False
        self.release(victim)
        victim.cut()
        self._add(group, connection)
        return True

    def logged_in(self, connection: Connection) -> None:
        """Note that the client of a connection has logged in."""
        if connection in self._clients:
            self._logged_in.add(connection)

    def release(self, connection: Connection) -> None:
        """Stop counting a connection; nothing happens if it is not counted."""
        group = self._clients.pop(connection, None)
        if group is None:
            return
        self._logged_in.discard(connection)
        self._open[group].discard(connection)
        if not self._open[group]:
            del self._open[group]

    def _add(self, group: str, connection: Connection) -> None:
        self._open.setdefault(group, set()).add(connection)
        self._clients[connection] = group

    def _is_full(self) -> bool:
        total = len(self._clients)
        return total >= self._maximum or total - len(self._logged_in) >= self._maximum_before_login

    def _of_greediest(self, newcomers: int, now: float) -> Connection | None:
        """Return the connection that gives way to a client with `newcomers` connections: one of a client that has more.

        Only connections that give way count: a client that has logged in many times must not shield those who say nothing.
        """
        yielding = [[each for each in own if each.gives_way] for own in self._open.values()]
        most = max(map(len, yielding), default=0)
        greedy = [connection for own in yielding if len(own) == most for connection in own]
        return _longest_silent(greedy, now if most > newcomers + 1 else now - _LEAST_SILENCE)


def _longest_silent(connections: Iterable[Connection], since: float) -> Connection | None:
    """Return the connection that has been silent longest of those that give way, if at least since then."""
    silent = (each for each in connections if each.gives_way and each.active_at <= since)
    return min(silent, key=lambda each: each.active_at, default=None)
