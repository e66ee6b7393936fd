"""Log lines about clients: one client must not fill the disk with them."""

from __future__ import annotations

from collections import OrderedDict

from mailbridge import log
from mailbridge.client_group import client_group

# One client causes this many lines at once, and then one each second.
_BURST = 100
_MAX_CLIENTS = 10_000


class LogLines:
    """Writes lines about clients. Where a client causes too many, the next line says how many were left out (`left_out`)."""

    def __init__(self) -> None:
        # For each client: the lines it has left, when that was so, and how many were left out since.
        self._clients: OrderedDict[str, tuple[float, float, int]] = OrderedDict()

    def write(self, event: log.Event, client: str, now: float, id: str = "smtp", **facts: object) -> None:
        """Write a line of `event` about `client`. `now` is in seconds of a clock that is never set."""
        group = client_group(client)
        left, at, left_out = self._clients.pop(group, (float(_BURST), now, 0))
        left = min(_BURST, left + now - at)
        if left >= 1:
            event(id, client=client, **facts, **({"left_out": left_out} if left_out else {}))
            left, left_out = left - 1, 0
        else:
            left_out += 1
        self._clients[group] = (left, now, left_out)
        if len(self._clients) > _MAX_CLIENTS:
            self._clients.popitem(last=False)
