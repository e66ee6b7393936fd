"""Which client a request comes from, and which user a proxy names, if the configuration lists that proxy. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network


class TrustedProxies:
    """The proxies of `http.proxies`, as networks."""

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = [ip_network(network) for network in networks]

    def __contains__(self, address: str) -> bool:
        try:
            parsed = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)

    def client(self, peer: str, forwarded: Sequence[str]) -> str:
        """Return the address that a login is counted for: the last one of X-Forwarded-For that is not a proxy itself.

        Whatever stands before that one was written by the client. Some proxies, such as HAProxy, add a line of their own behind
        the client's; several lines are one list (RFC 9110 section 5.3).
        """
        client = peer
        for hop in reversed(",".join(forwarded).split(",")):
            if client not in self:
                break
            try:
                client = str(ip_address(hop.strip()))
            except ValueError:
                break
        return client

    def user(self, peer: str, named: Sequence[str]) -> str | None:
        """Return the user that the proxy has checked, by the lines of the header that names one; None without a listed proxy.

        Of several lines one is the client's, and nobody knows which.
        """
        return named[0] or None if len(named) == 1 and peer in self else None
