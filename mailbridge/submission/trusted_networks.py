"""Clients that are a user without a login, by their address: `user.NAME.networks`. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network


class TrustedNetworks:
    """Finds the user of a client. `networks` are the networks of each user; those of two users do not overlap."""

    def __init__(self, networks: Mapping[str, Sequence[str]]) -> None:
        self._networks = [(ip_network(network), user) for user, named in networks.items() for network in named]

    def user_of(self, client: str) -> str | None:
        """Return the user whose networks hold an address, or None; a client without an address belongs to nobody."""
        if not self._networks:
            return None
        try:
            address = ip_address(client.partition("%")[0])
        except ValueError:
            return None
        return next((user for network, user in self._networks if address in network), None)
