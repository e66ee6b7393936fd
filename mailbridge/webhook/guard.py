"""Protects against server-side request forgery: connects only to globally routable addresses, checked when connecting.

A name is resolved once, and the address that was checked is the one connected to. So a name that resolves to a private address
the next time (DNS rebinding) does not get past the check.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import httpcore
import httpx

from mailbridge.happy_eyeballs import first_connected, interleaved
from mailbridge.http_connections import HostConnections
from mailbridge.http_stream import AsyncioBackend

Resolve = Callable[[str, int], Awaitable[list[str]]]

# Global unicast (RFC 4291 section 2.4), and addresses that are translated to IPv4 (RFC 6052), which are checked as IPv4.
_UNICAST = ipaddress.ip_network("2000::/3")
# Not routed, though some versions of Python take them for global (RFC 7526, RFC 6890 section 2.2.2, RFC 9637).
_NOT_ROUTED = tuple(map(ipaddress.ip_network, ("192.88.99.0/24", "192.0.0.0/24", "3fff::/20")))
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")


async def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host from the system's resolver. Raises OSError.

    It runs in a thread of its own, so that a hanging resolver does not occupy the event loop's few threads or delay the exit.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[str]] = loop.create_future()

    def set_result(answer: list[str] | Exception) -> None:
        if found.done():
            return
        if isinstance(answer, Exception):
            found.set_exception(answer)
        else:
            found.set_result(answer)

    def look_up() -> None:
        answer: list[str] | Exception
        try:
            answer = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        except OSError as error:
            answer = error
        except UnicodeError as error:
            answer = OSError(str(error))
        with contextlib.suppress(RuntimeError):  # the loop has ended in the meantime
            loop.call_soon_threadsafe(set_result, answer)

    threading.Thread(target=look_up, name="resolver", daemon=True).start()
    return await found


def is_public(address: str) -> bool:
    """Return whether an address is globally routable; for an IPv6 address that contains an IPv4 one, whether that is."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is not None:
            return is_public(str(inner))
        if ip in _TRANSLATED:
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        if ip not in _UNICAST:
            return False
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _NOT_ROUTED)


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Connects to public addresses, or with `allow_private` to any. Raises httpcore.ConnectError for other addresses."""

    def __init__(self, resolver: Resolve = resolve, allow_private: bool = False) -> None:
        self._backend: httpcore.AsyncNetworkBackend = AsyncioBackend()
        self._resolve, self._allow_private = resolver, allow_private
        self._resolving: asyncio.Future[list[str]] | None = None

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await self._addresses(host, port, timeout)

        async def connect(address: str) -> httpcore.AsyncNetworkStream:
            return await self._backend.connect_tcp(address, port, timeout, local_address, socket_options)

        return await first_connected(addresses, connect, lambda stream: stream.aclose())

    async def _addresses(self, host: str, port: int, timeout: float | None) -> list[str]:
        # A client has one host. All its connections wait for the same answer, so a hanging resolver occupies one thread.
        if self._resolving is None or self._resolving.done():
            self._resolving = asyncio.ensure_future(self._resolve(host, port))
            self._resolving.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            found = await asyncio.wait_for(asyncio.shield(self._resolving), timeout)
        except (OSError, TimeoutError) as error:
            raise httpcore.ConnectError(f"{host} has no address ({str(error) or 'no answer'})") from error
        if not found or not (self._allow_private or all(is_public(address) for address in found)):
            raise httpcore.ConnectError(f"{host} is not a public address; set allow_private for a receiver in your own network")
        return interleaved(dict.fromkeys(found), lambda address: ":" in address)

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        raise httpcore.ConnectError("a webhook cannot be a unix socket")

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


def guarded_transport(allow_private: bool, resolver: Resolve = resolve) -> HostConnections:
    """Return the connections to one endpoint, by HTTP/1.1 and without a proxy; `allow_private`: not guarded."""
    # Servers close connections that are idle for 2 s (gunicorn) or 5 s (Node, uvicorn). Closing earlier avoids a request that
    # arrives while the server closes.
    return HostConnections(httpx.create_ssl_context(), GuardedBackend(resolver, allow_private), kept_for=1.5)
