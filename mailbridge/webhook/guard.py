"""The guard against server-side request forgery: only globally routable addresses are called, judged when connecting.

A name is resolved once and that very address is connected to, so a name that resolves anew to a private address gains nothing.
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

Resolve = Callable[[str, int], Awaitable[list[str]]]

# All that is allocated as global unicast (RFC 4291 section 2.4); what translates to IPv4 (RFC 6052) is judged by that.
_UNICAST = ipaddress.ip_network("2000::/3")
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")


async def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host by the system's resolver. Raises OSError.

    It runs in a thread of its own: a resolver that hangs must neither take the loop's few threads nor hold up the end.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[str]] = loop.create_future()

    def hand_over(answer: list[str] | Exception) -> None:
        if found.done():
            return
        if isinstance(answer, Exception):
            found.set_exception(answer)
        else:
            found.set_result(answer)

    def ask() -> None:
        answer: list[str] | Exception
        try:
            answer = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        except OSError as error:
            answer = error
        except UnicodeError as error:
            answer = OSError(str(error))
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(hand_over, answer)

    threading.Thread(target=ask, name="resolver", daemon=True).start()
    return await found


def is_public(address: str) -> bool:
    """Whether an address is globally routable; an IPv4 address inside an IPv6 one is judged as what it is."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is not None:
            return is_public(str(inner))
        if ip in _TRANSLATED:
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        if ip not in _UNICAST:
            return False
    return ip.is_global and not ip.is_multicast


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Connects to public addresses only, or with `allow_private` to any. Raises httpcore.ConnectError for every other."""

    def __init__(self, resolver: Resolve = resolve, allow_private: bool = False) -> None:
        self._backend: httpcore.AsyncNetworkBackend = httpcore.AnyIOBackend()
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
        # One that is not reached (an IPv6 address without a route, say) must leave time for the others.
        share = None if timeout is None else timeout / len(addresses)
        for address in addresses[:-1]:
            with contextlib.suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return await self._backend.connect_tcp(address, port, share, local_address, socket_options)
        return await self._backend.connect_tcp(addresses[-1], port, share, local_address, socket_options)

    async def _addresses(self, host: str, port: int, timeout: float | None) -> list[str]:
        # Every client has one host: its connections wait for the same answer, so that a resolver that hangs holds one thread.
        if self._resolving is None or self._resolving.done():
            self._resolving = asyncio.ensure_future(self._resolve(host, port))
            self._resolving.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            found = await asyncio.wait_for(asyncio.shield(self._resolving), timeout)
        except (OSError, TimeoutError) as error:
            raise httpcore.ConnectError(f"{host} has no address ({str(error) or 'no answer'})") from error
        if not found or not (self._allow_private or all(is_public(address) for address in found)):
            raise httpcore.ConnectError(f"{host} is not a public address; set allow_private for a receiver in your own network")
        return list(dict.fromkeys(found))

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        raise httpcore.ConnectError("a webhook is no unix socket")

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


def guarded_client(allow_private: bool, timeout: float, resolver: Resolve = resolve) -> httpx.AsyncClient:
    """Return an HTTP client for one endpoint: HTTP/1.1, no redirects, no proxies, kept alive; guarded unless `allow_private`."""
    # Servers close what is idle for 2 s (gunicorn) or 5 s (Node, uvicorn); to be quicker spares a request that meets the closing.
    transport = httpx.AsyncHTTPTransport(http2=False, limits=httpx.Limits(max_connections=16, keepalive_expiry=1.5))
    transport._pool._network_backend = GuardedBackend(resolver, allow_private)
    return httpx.AsyncClient(transport=transport, follow_redirects=False, timeout=timeout, trust_env=False)
