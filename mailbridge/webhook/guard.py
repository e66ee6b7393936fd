"""The guard against server-side request forgery: only globally routable addresses are called, judged when connecting.

A name is resolved once and that very address is connected to, so a name that resolves anew to a private address gains nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import httpcore
import httpx

Resolve = Callable[[str, int], Awaitable[list[str]]]


async def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host by the system's resolver. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def is_public(address: str) -> bool:
    """Whether an address is globally routable; an IPv4 address inside an IPv6 one is judged as what it is."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is not None:
            return is_public(str(inner))
        if ip in ipaddress.ip_network("64:ff9b::/96"):
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
    return ip.is_global and not ip.is_multicast


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Connects to public addresses only. Raises httpcore.ConnectError for every other."""

    def __init__(self, resolver: Resolve = resolve) -> None:
        self._backend, self._resolve = httpcore.AnyIOBackend(), resolver

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            addresses = await asyncio.wait_for(self._resolve(host, port), timeout)
        except (OSError, TimeoutError) as error:
            raise httpcore.ConnectError(f"{host} has no address ({error})") from error
        if not addresses or not all(is_public(address) for address in addresses):
            raise httpcore.ConnectError(f"{host} is not a public address; set allow_private for a receiver in your own network")
        return await self._backend.connect_tcp(addresses[0], port, timeout, local_address, socket_options)

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        raise httpcore.ConnectError("a webhook is no unix socket")

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


def client(allow_private: bool, timeout: float, resolver: Resolve = resolve) -> httpx.AsyncClient:
    """Return an HTTP client for one endpoint: HTTP/1.1, no redirects, no proxies, kept alive; guarded unless `allow_private`."""
    transport = httpx.AsyncHTTPTransport(http2=False, limits=httpx.Limits(max_connections=16, keepalive_expiry=60))
    if not allow_private:
        pool = transport._pool
        pool._network_backend = GuardedBackend(resolver)
    return httpx.AsyncClient(transport=transport, follow_redirects=False, timeout=timeout, trust_env=False)
