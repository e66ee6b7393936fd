"""What counts as one client, where clients share something: places, turns, delays. Pure."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address


def client_group(client: str) -> str:
    """Return what counts as one client: an IPv4 address, or the /64 network of an IPv6 address, which one host can have whole."""
    if ":" not in client:
        return client
    try:
        address = ip_address(client.partition("%")[0])
    except ValueError:
        return client
    return f"{IPv6Address(int(address) >> 64 << 64)}/64"
